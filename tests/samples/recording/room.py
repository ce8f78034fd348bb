"""Where one log is recorded: a folder of its own, a server that runs in it, and what is kept of both."""

# ruff: noqa: T201 (it reports to who records)

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.samples.recording.neutral import neutral

LIMIT_S = 400.0
STOP_S = 120.0
_LATE_FAILURE_S = 20.0
_SERVES = re.compile(rb"Application startup complete\.|Started Metrics Service")
"""Where it was to fail, it has this long to do so after all"""
_NICE = ("nice", "-n", "10")


class Process(Protocol):
    pid: int

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


Act = Callable[[Process], None]


@dataclass(frozen=True, slots=True)
class Recorded:
    log: str
    exit_code: int | None = None
    """None for a server that was left running: the log ends where it serves"""
    oom_killed: bool = False
    runtime_error: str = ""
    stopped_on_purpose: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    about: str
    """What was wrong; empty words of praise are for good starts: `good: …`"""
    record: Callable[["Room"], Recorded]


CASES: dict[str, Case] = {}


def case(about: str) -> Callable[[Callable[["Room"], Recorded]], Callable[["Room"], Recorded]]:
    """Registers a function under its own name, with hyphens."""

    def register(record: Callable[["Room"], Recorded]) -> Callable[["Room"], Recorded]:
        name = record.__name__.replace("_", "-")
        CASES[name] = Case(name, about, record)
        return record

    return register


class Impossible(Exception):
    """This machine lacks what the case needs: says what."""


@dataclass(slots=True)
class Room:
    folder: Path
    places: dict[str, str] = field(default_factory=dict)
    """Of this machine, and what stands for them in the log"""

    def run(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        ready: str = "",
        then: Act | None = None,
        limit_s: float = LIMIT_S,
    ) -> Recorded:
        """Starts it, and then as `follow`."""
        with self.output.open("ab") as file:
            process = subprocess.Popen(
                [*_NICE, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**env},
                start_new_session=True,
            )
        return self.follow(process, ready=ready, then=then, limit_s=limit_s)

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def follow(
        self, process: Process, *, ready: str = "", then: Act | None = None, limit_s: float = LIMIT_S
    ) -> Recorded:
        """Until it ends by itself; or until a line matches `ready`, and then `then`, or it is left as it is there."""
        output = self.output
        pattern = re.compile(ready.encode(), re.MULTILINE) if ready else None
        unexpected = False
        try:
            deadline = time.monotonic() + limit_s
            while process.poll() is None and time.monotonic() < deadline:
                if pattern and pattern.search(output.read_bytes()):
                    pattern = None
                    if then is None:
                        return self._recorded(output.read_bytes(), None)
                    then(process)
                    deadline = time.monotonic() + STOP_S
                elif not ready and not unexpected and _SERVES.search(output.read_bytes()):
                    unexpected = True
                    deadline = min(deadline, time.monotonic() + _LATE_FAILURE_S)
                time.sleep(0.1)
            code = process.poll()
            if code is None:
                print("  serves" if unexpected else f"  did not end within {limit_s} s", file=sys.stderr)
            if pattern and code is not None:
                print(f"  was never ready: exit {code}", file=sys.stderr)
            end_group(process)
            exit_code = 128 - code if code is not None and code < 0 else code
            return self._recorded(output.read_bytes(), exit_code, stopped=then is stop)
        finally:
            end_group(process)

    def _recorded(self, output: bytes, exit_code: int | None, *, stopped: bool = False) -> Recorded:
        return Recorded(self.clean(output.decode(errors="replace")), exit_code, stopped_on_purpose=stopped)

    def remount(self, at: Path, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(at)], check=True)

    def clean(self, text: str) -> str:
        return neutral(text, self.places)


@contextlib.contextmanager
def room() -> Iterator[Room]:
    with tempfile.TemporaryDirectory(prefix="sample-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Room(Path(folder))


def end_group(process: Process) -> None:
    """The process and all that it has started in its session's group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def stop(process: Process) -> None:
    os.kill(process.pid, signal.SIGTERM)


def kill_child(name: str) -> Act:
    """Kills the descendants whose command line has `name`, as the kernel does when memory is short."""

    def kill(process: Process) -> None:
        for pid in _descendants(process.pid):
            with contextlib.suppress(OSError):
                if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    return kill


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def taken_port(port: int = 0) -> Iterator[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", port))
        one.listen()
        taken: int = one.getsockname()[1]
        yield taken


@contextlib.contextmanager
def mounted_tmpfs(at: Path, size: str) -> Iterator[Path]:
    """A small disk of its own. Needs root."""
    if os.geteuid():
        raise Impossible("mounting a small disk needs root")
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def edit_json(file: Path, changes: Mapping[str, Any]) -> None:
    """None takes a key out."""
    content = json.loads(file.read_text(encoding="utf-8")) | dict(changes)
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}, indent=2))


def copied(source: Path, to: Path) -> Path:
    shutil.copytree(source, to)
    return to
