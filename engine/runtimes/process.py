"""The runtime without Docker: each deployment is a local program under a small supervisor of its own (`shim`).

The supervisor outlives the console and keeps its state in a folder, `deployments/NAME` in the state folder, which is
all that this class knows: any number of consoles may look and act at once.
"""

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from engine.by_hand import VISIBLE_GPUS, visible_gpus
from engine.deployment import Deployment, Lifecycle
from engine.errors import NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.plan import Launch
from engine.runtimes import process_records, shim
from engine.runtimes.gpu_uuids import uuids
from engine.runtimes.listeners import listeners_at
from engine.runtimes.process_claims import CLAIM, Homes, taken, unreadable
from engine.runtimes.process_files import write_files
from engine.runtimes.process_identity import is_alive, wait_for_end
from engine.runtimes.process_log import FileLog, secrets_of
from engine.runtimes.process_state import FILES, RUNTIME, Facts, Record, is_deployment
from engine.runtimes.process_truth import Truth, ask
from engine.secrets import resolve_secrets
from engine.settings import Settings
from engine.startup import PhaseProgress

LOG_FILE_BYTES = 64 << 20
"""Two such files are kept for each deployment"""
# What a local program may need from the console's surroundings; nothing else of it is passed on.
_INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TMPDIR|TZ|LD_LIBRARY_PATH|XDG_\w+|CUDA_HOME|CUDA_PATH|SSL_CERT_\w+"
    r"|(https?|no|all)_proxy|REQUESTS_CA_BUNDLE|HF_HOME|HF_HUB_CACHE|HF_ENDPOINT|HF_HUB_OFFLINE",
    re.IGNORECASE,
)
_ANSWER_S = 15.0
"""How long a shim may take to start its program, and to end after it has killed it"""
_WATCH_S = 0.5
_LOCK_POLL_S = 0.02


class ProcessRuntime:
    """`Runtime` for local programs. Any method is safe from any thread and any number of processes."""

    name = RUNTIME

    def __init__(self, settings: Settings, *, log_file_bytes: int = LOG_FILE_BYTES) -> None:
        self._state_dir = settings.state_dir
        self._root = settings.state_dir / "deployments"
        self._log_file_bytes = log_file_bytes
        self._truth = Truth()
        self._homes = Homes(self._root, self._truth)

    def check(self) -> str:
        if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
            raise RuntimeUnreachable("Local processes need Linux 5.3 or later.", "Use the docker runtime here.")
        return f"Linux {platform.release()}"

    def deployments(self) -> tuple[Deployment, ...]:
        return tuple(sorted((held.deployment for held in self._homes.all()), key=lambda found: found.name))

    def create(self, launch: Launch) -> None:
        folder = self._homes.own(launch.name)
        facts = Facts.of(launch, uuid.uuid4().hex, time.time())
        with self._writing():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._homes.home(launch.name) not in (folder, self._homes.aside(launch.name)):
                raise taken(launch.name)
            # Complete before it gets its name, so that nobody ever sees half of it; the name decides who was first.
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
            try:
                shim.write_json(str(new), shim.LAUNCH, facts.to_data())
                write_files(new / FILES, launch.files)
                self._move(new, folder)
            except (OSError, Refused) as error:
                shutil.rmtree(new, ignore_errors=True)
                if isinstance(error, OSError) and folder.exists():
                    raise taken(launch.name) from error
                raise

    def set_aside(self, name: str) -> None:
        with self._locked(name) as folder, self._writing():
            held, aside = self._homes.find(name), self._homes.aside(name)
            if held.deployment.lifecycle is Lifecycle.RUNNING:
                raise Refused(f"{name} is running.", f"Stop {name} first.")
            _await_leftovers(name, held.record)
            if held.spent:
                (folder / CLAIM).unlink(missing_ok=True)
            elif folder != aside:
                aside.parent.mkdir(mode=0o700, exist_ok=True)
                folder.rename(aside)

    def bring_back(self, name: str) -> None:
        aside = self._homes.aside(name)
        if self._homes.home(name) == aside:
            with self._locked(name), self._writing():
                self._move(aside, self._homes.own(name))

    def drop_aside(self, name: str) -> None:
        aside = self._homes.aside(name)
        if aside.exists() and self._homes.home(name) != aside:
            with self._writing():
                self._bury(aside)

    def missing(self, launch: Launch) -> str:
        program = launch.command[0]
        if shutil.which(program):
            return ""
        return f"{program} is no program that this user can run. Install it, or correct `program` in the profile."

    def pull(self, image: str, told: Callable[[PhaseProgress], None], cancelled: threading.Event) -> bool:
        del told, cancelled
        raise OperationFailed(f"A local process has no image {image} to be fetched.")

    def image_env(self, image: str) -> Mapping[str, str]:
        del image
        return {}

    def image_id(self, image: str) -> str:
        del image
        return ""

    def foreign(self) -> tuple[Deployment, ...]:
        return ()

    def claim(self, id: str, launch: Launch, *, this_run_only: bool) -> None:  # noqa: A002 (what it is called everywhere)
        if not this_run_only:
            raise Refused("A local program cannot be adopted.", "Only containers can.")
        with self._writing():
            self._homes.claim(id, launch)

    def unclaim(self, name: str) -> None:
        with self._writing():
            self._homes.unclaim(name)

    def keep_record(self, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
        return process_records.keep(self._state_dir, name, facts)

    def record(self, name: str) -> Mapping[str, str] | None:
        return process_records.read(self._state_dir, name)

    def drop_record(self, name: str) -> None:
        process_records.drop(self._state_dir, name)

    def gpus(self, name: str) -> tuple[str, ...] | None:
        run = self._homes.find(name).record.run
        if run is None or run.server is None:
            return None
        try:
            environment = Path(f"/proc/{run.server[0]}/environ").read_bytes().split(b"\0")
        except OSError:  # ended, or another user's
            return None
        if not is_alive(run.server):
            return None
        mark = VISIBLE_GPUS.encode() + b"="
        visible = next(
            (entry[len(mark) :].decode("utf-8", "replace") for entry in environment if entry.startswith(mark)), ""
        )
        return uuids(visible.split(",")) or None

    def stranger(self, name: str) -> str:
        held = self._homes.find(name)
        addresses = list(held.deployment.service.addresses())
        for (_, port), found in zip(addresses, listeners_at(addresses), strict=True):
            if found and None not in found and not self._truth.has_any(held.record, {one.pid for one in found if one}):
                return f"port {port} is used by {found[0]}"
        return ""

    def start(self, name: str) -> None:
        """Running already is no error. Raises `Refused` for a secret that cannot be resolved."""
        self.bring_back(name)
        with self._locked(name) as folder:
            held = self._homes.find(name)
            record = held.record
            if held.spent:
                raise Refused(
                    f"{name} was loaded into a running server, which has ended since; it cannot be started again so.",
                    f"Remove it and start it from its profile (`tritontui rm {name}`, `tritontui up {name}`).",
                )
            if held.deployment.lifecycle is Lifecycle.RUNNING:
                if record.run is not None and is_alive(record.run.shim):
                    return
                raise OperationFailed(f"Processes of {name}'s earlier run are still there.", f"Stop {name} first.")
            if record.facts is None:
                raise OperationFailed(record.damage)
            _await_leftovers(name, record)
            request = {"env": self._environment(record.facts), "log_file_bytes": self._log_file_bytes}
            with self._writing():
                (folder / shim.STOP).unlink(missing_ok=True)
            self._run_shim(name, folder, record.facts.id, json.dumps(request))

    def stop(self, name: str, timeout_s: float) -> None:
        with self._locked(name) as folder:
            held = self._homes.find(name)
            record = held.record
            if held.deployment.lifecycle is not Lifecycle.RUNNING:
                _await_leftovers(name, record)
                return
            # Without room for the file the shim uses the launch's own timeout: a full disk prevents no stop.
            with contextlib.suppress(OSError):
                shim.write_json(str(folder), shim.STOP, {"timeout_s": timeout_s})
            supervisor = record.run.shim if record.run else None
            if not (supervisor and ask(name, supervisor, signal.SIGTERM)):
                self._truth.end_survivors(record, timeout_s)
                return
        if not wait_for_end(supervisor, timeout_s + _ANSWER_S):
            waited = f"{name} has not ended {timeout_s + _ANSWER_S:.0f} s after it was asked to and then killed."
            raise _held_up(waited, supervisor)

    def remove(self, name: str) -> None:
        with self._locked(name) as folder:
            held = self._homes.find(name)
            if held.deployment.lifecycle is Lifecycle.RUNNING:
                raise Refused(f"{name} is running.", f"Stop {name} before removing it.")
            _await_leftovers(name, held.record)
            with self._writing():
                if held.spent:
                    (folder / CLAIM).unlink(missing_ok=True)
                else:
                    self._bury(folder)

    def logs(self, name: str, *, tail: int | None, follow: bool, since: float | None = None) -> FileLog:
        record = self._homes.find(name).record

        def ended() -> bool:
            try:
                held = self._homes.find(name)
            except NotFound:
                return True
            run = held.record.run
            # What its server has left may still say something.
            return held.deployment.lifecycle is Lifecycle.EXITED and not is_alive(run.shim if run else None)

        secrets = secrets_of(record)
        return FileLog(record.folder, ended, tail=tail, follow=follow, since=since, secrets=secrets)

    def watch(self, changed: Callable[[], None], closing: threading.Event) -> None:
        seen = self.deployments()
        while not closing.wait(_WATCH_S):
            if (now := self.deployments()) != seen:
                seen = now
                changed()

    def _move(self, new: Path, folder: Path) -> None:
        """Fails when there is another deployment."""
        if folder.exists() and not is_deployment(folder):
            self._bury(folder)
        new.rename(folder)

    def _bury(self, folder: Path) -> None:
        """Gone under its name at once; what an interruption leaves has a name that is never listed."""
        grave = Path(tempfile.mkdtemp(prefix=".removed-", dir=self._root))
        folder.rename(grave / folder.name)
        shutil.rmtree(grave)

    def _environment(self, facts: Facts) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if _INHERITED.fullmatch(key)}
        env |= {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
        # As on Docker, a deployment sees the GPUs that its profile asks for and no others.
        if (visible := visible_gpus(facts.gpus)) is not None:
            env[VISIBLE_GPUS] = visible
        return {**env, **facts.env, **resolve_secrets(facts.secrets), shim.LAUNCH_ID: facts.id}

    def _run_shim(self, name: str, folder: Path, launch_id: str, request: str) -> None:
        """Returns when the program was started; it answers at the latest when its side of the pipes is closed."""
        try:
            answer = subprocess.run(
                [sys.executable, "-I", "-S", shim.__file__, str(folder)],
                input=request,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_ANSWER_S,
                env={shim.LAUNCH_ID: launch_id},
                cwd="/",
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OperationFailed(
                f"{name} could not be started within {_ANSWER_S:.0f} s.", "Is the machine, or a disk, overloaded?"
            ) from error
        except OSError as error:
            raise OperationFailed(f"The supervisor of {name} could not be started: {error.strerror}.") from error
        if answer.stdout:
            raise OperationFailed(answer.stdout)
        if answer.stderr:
            raise OperationFailed(f"The supervisor of {name} failed: {answer.stderr.splitlines()[-1]}.")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OperationFailed(
                f"The state folder {self._root} cannot be written: {error.strerror}.",
                "Correct its owner, permissions or free space, or set TRITONTUI_STATE_DIR.",
            ) from error

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[Path]:
        """Holds the deployment against other consoles; the kernel lets go of it when this process ends."""
        folder = self._homes.home(name)
        deadline = time.monotonic() + _ANSWER_S
        while True:
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                raise unreadable(name, error) from error
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    # What was waited for may have been a removal.
                    if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                        yield folder
                        return
            finally:
                os.close(descriptor)
            if time.monotonic() >= deadline:
                raise Refused(f"Another tritontui is starting or stopping {name}.", "Try again when it is done.")
            time.sleep(_LOCK_POLL_S)


def _await_leftovers(name: str, record: Record) -> None:
    """Of a server that has ended: its shim stays until what that had started has ended, too."""
    supervisor = record.run.shim if record.run else None
    if supervisor and not wait_for_end(supervisor, shim.LEFTOVERS_S + _ANSWER_S):
        raise _held_up(f"{name} has ended, and processes that it started have not.", supervisor)


def _held_up(what: str, supervisor: shim.Identity) -> OperationFailed:
    return OperationFailed(what, f"Process {supervisor[0]} still waits for that; a GPU driver may hold it (see dmesg).")
