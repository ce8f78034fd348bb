"""The supervisor of one local deployment: a small process of its own, so that the deployment outlives the console.

`python -I -S shim.py FOLDER`, with the request as JSON on standard input, starts the launch that FOLDER describes,
says on standard output how that went, and stays behind until the server and all its descendants have ended. It writes
the server's log and, as soon as the server has ended, how it did. It is run by its path with nothing but the standard
library, and so it imports nothing of the engine but its neighbour `log_writer`; the engine imports the names of its
files from here.
"""

# Importing pathlib would nearly double the time that a shim takes to start.
# ruff: noqa: PTH105, PTH108, PTH120, PTH123, PTH208

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time

if __package__:
    from engine.runtimes.log_writer import ERR, LOG_PREFIX, OUT, LogWriter, log_numbers
else:  # run by its path, with no more of the engine than lies beside it
    sys.path.append(os.path.dirname(__file__))
    from log_writer import ERR, LOG_PREFIX, OUT, LogWriter, log_numbers  # type: ignore[no-redef,import-not-found]

LAUNCH, RUN, STOP, ERRORS = "launch.json", "run.json", "stop.json", "shim.err"
LAUNCH_ID = "TRITONTUI_LAUNCH_ID"
"""In the environment of the server and so of its descendants, which it identifies when the shim is gone"""
LEFTOVERS_S = 5.0
"""How long descendants may take to end after the server's own process has ended"""

Identity = tuple[int, int, str]
"""Process id, start time in clock ticks since boot, and boot id: never again the same, whatever is reused"""

_BLOCK = 256 << 10
_PIPE_BYTES = 1 << 20
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None)


def stat_fields(pid: int | str) -> list[bytes]:
    """The fields of /proc/PID/stat from the third (state) on; empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def identity_of(pid: int) -> Identity | None:
    """None when there is no such process; a zombie still has its identity."""
    fields = stat_fields(pid)
    if not fields:
        return None
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return pid, int(fields[19]), file.read().strip()


def identify(pid: int) -> Identity | None:
    """The identity of a process that runs; None for a zombie, too."""
    return None if stat_fields(pid)[:1] in ([], [b"Z"], [b"X"]) else identity_of(pid)


def write_json(folder: str, name: str, data: object) -> None:
    """Replaces the file as a whole or not at all. Raises OSError."""
    path = f"{folder}/{name}"
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(descriptor)
    os.replace(f"{path}.new", path)


def oom_kills() -> int:
    """How many processes of this control group (or, without one, of this machine) the kernel has killed for memory."""
    group = ""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            group = next((line.strip()[3:] for line in file if line.startswith("0::")), "")
    except OSError:
        pass
    for path in (f"/sys/fs/cgroup{group}/memory.events", "/proc/vmstat"):
        try:
            with open(path, encoding="ascii") as file:
                return next(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
        except (OSError, StopIteration):
            continue
    return 0


def spawn(command: list[str], env: dict[str, str], output: int, errors: int) -> int:
    """Starts the server as the leader of its own session and process group. Raises OSError when it cannot be run."""
    read_end, write_end = os.pipe()
    shim = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            # Should the shim be killed, the server is asked to end: nobody would read its log or see it any more.
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != shim:
                os._exit(1)
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, OUT)
            os.dup2(errors, ERR)
            os.execvpe(command[0], command, env)  # noqa: S606
        except OSError as error:
            os.write(write_end, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(write_end)
    failure = os.read(read_end, 16)
    os.close(read_end)
    if failure:
        os.waitpid(pid, 0)
        raise OSError(int(failure), os.strerror(int(failure)))
    return pid


class Shim:
    """One run of the server, from its start to the end of its last descendant."""

    def __init__(self, folder: str, request: dict[str, object]) -> None:
        with open(f"{folder}/{LAUNCH}", encoding="utf-8") as file:
            self._launch = json.load(file)
        self._folder = folder
        self._env: dict[str, str] = request["env"]  # type: ignore[assignment]
        self._log = LogWriter(folder, int(request["log_file_bytes"]))  # type: ignore[call-overload]
        self._pipes = {OUT: os.pipe(), ERR: os.pipe()}
        self._streams = {ours: stream for stream, (ours, _) in self._pipes.items()}
        for ours in self._streams:
            os.set_blocking(ours, False)
            with contextlib.suppress(OSError):  # the user's limit on pipe memory: the default size does, less smoothly
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._wakeup, writer = os.pipe()
        for end in (self._wakeup, writer):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._run: dict[str, object] = {"id": self._launch["id"], "shim": identify(os.getpid())}
        self._server = 0
        self._deadline = float("inf")
        self._oom_kills = oom_kills()

    def start(self) -> str:
        """Starts the server; returns why it could not, or nothing. Raises OSError when no state can be kept."""
        self._save(started_at=time.time())
        command = self._launch["command"]
        try:
            self._server = spawn(command, self._env, *(theirs for _, theirs in self._pipes.values()))
        except OSError as error:
            exit_code = 127 if isinstance(error, FileNotFoundError) else 126
            why = f"{command[0]} could not be run: {error.strerror}."
            self._save(error=why, exit_code=exit_code, finished_at=time.time())
            return why
        for _, theirs in self._pipes.values():
            os.close(theirs)
        try:
            self._save(server=identity_of(self._server))
        except OSError:
            os.killpg(self._server, signal.SIGKILL)
            raise
        return ""

    def supervise(self) -> None:
        """Returns when the server and its descendants have ended and all they said is written."""
        poll = select.poll()
        for ours in self._streams:
            poll.register(ours, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            wait = self._deadline - time.monotonic()
            ready = dict(poll.poll(None if wait == float("inf") else max(0.0, wait * 1000)))
            for ours in self._streams:
                if ours in ready and not self._read(ours):
                    poll.unregister(ours)
            if self._wakeup in ready and signal.SIGTERM in os.read(self._wakeup, 4096):
                self._stop()
            try:
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    if ended[0] == self._server:
                        self._server = 0
                        self._deadline = min(self._deadline, time.monotonic() + LEFTOVERS_S)
                        # Its descendants may take their time, and its end is news now.
                        self._read_what_is_there()
                        self._finish(os.waitstatus_to_exitcode(ended[1]))
            except ChildProcessError:
                break
            if time.monotonic() >= self._deadline:
                self._signal_all(signal.SIGKILL)
                self._deadline = time.monotonic() + 0.1
            elif not self._server:
                self._signal_all(signal.SIGTERM)
        for ours in self._streams:
            while self._read(ours):
                pass
        self._log.close()

    def _read_what_is_there(self) -> None:
        """The last words of a server that has ended: who reads that it has, finds them in its log."""
        for ours in self._streams:
            for _ in range(_PIPE_BYTES // _BLOCK):  # what its descendants go on saying is not waited for
                if not self._read(ours):
                    break

    def _read(self, ours: int) -> bool:
        """False when there is nothing to read: for now, or for good."""
        try:
            block = os.read(ours, _BLOCK)
        except BlockingIOError:
            return False
        if block:
            self._log.write(self._streams[ours], block)
        return bool(block)

    def _stop(self) -> None:
        """The first time asks the server to end; each time, an earlier deadline holds."""
        try:
            with open(f"{self._folder}/{STOP}", encoding="utf-8") as file:
                timeout = float(json.load(file)["timeout_s"])
        except (OSError, ValueError, TypeError, KeyError):
            timeout = float(self._launch["stop_timeout_s"])
        self._deadline = min(self._deadline, time.monotonic() + timeout)
        if "stop_requested" not in self._run:
            self._run["stop_requested"] = True
            # Only the leader, as `docker stop` does: servers end their own workers in their own order.
            if self._server:
                os.kill(self._server, signal.SIGTERM)

    def _signal_all(self, number: signal.Signals) -> None:
        """Signals our children. They are not reaped yet, so their ids are theirs; their orphans become our children."""
        me = str(os.getpid()).encode()
        children = [int(name) for name in os.listdir("/proc") if name.isdecimal() and stat_fields(name)[1:2] == [me]]
        for pid in children:
            with contextlib.suppress(PermissionError):
                os.kill(pid, number)
        if self._server in children and number == signal.SIGKILL:
            with contextlib.suppress(PermissionError):
                os.killpg(self._server, number)

    def _finish(self, exit_code: int) -> None:
        killed = exit_code == -signal.SIGKILL and "stop_requested" not in self._run
        oom_killed = killed and oom_kills() > self._oom_kills
        for number in [*log_numbers(self._folder), None]:
            try:
                self._save(exit_code=exit_code, oom_killed=oom_killed, finished_at=time.time())
                break
            except OSError:
                # The disk is full: how it ended is worth more than its oldest log lines.
                if number is not None:
                    os.unlink(f"{self._folder}/{LOG_PREFIX}{number}")

    def _save(self, **facts: object) -> None:
        self._run.update(facts)
        write_json(self._folder, RUN, self._run)


def main() -> None:
    folder = sys.argv[1]
    request = json.load(sys.stdin.buffer)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir(folder)
    errors = os.open(f"{folder}/{ERRORS}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    shim = Shim(folder, request)
    failure = shim.start()
    os.write(1, failure.encode())
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(errors, 2)
    if not failure:
        shim.supervise()


if __name__ == "__main__":
    main()
