"""A runtime that keeps its deployments in memory, for tests of what is done with any."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from engine.deployment import Deployment, Lifecycle
from engine.errors import NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.plan import Launch
from engine.startup import Phase, PhaseProgress


class MemoryRuntime:
    """Keeps deployments in a dictionary; each fault is one attribute."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: dict[str, Deployment] = {}
        self.aside: dict[str, Deployment] = {}
        """What is set aside, by its name"""
        self.outside: dict[str, Deployment] = {}
        """What somebody started by hand, by its name"""
        self.claimed: dict[str, Deployment] = {}
        """What it was before, by the name that it has now"""
        self.records: dict[str, Mapping[str, str]] = {}
        self.records_lock = threading.Lock()
        self.unreachable = False
        self.start_error = ""
        self.stop_works = True
        self.misses = ""
        self.elsewhere: set[str] = set()
        """Images that are not here yet"""
        self.seen: tuple[str, ...] | None = ()
        """The GPUs that a deployment here says it sees"""
        self.strangers: dict[str, str] = {}
        """Who listens where a deployment is to answer, by its name"""
        self.goes_when_stopped: set[str] = set()
        """Started with --rm"""
        self.this_run_only: set[str] = set()
        self.log = (
            b"2026-01-01T00:00:00.000000000Z fine so far\n2026-01-01T00:00:01.000000000Z Error: no \x1b[31mmodel\n"
        )
        self.called: list[tuple[str, str]] = []
        """What was asked to change, in its order"""
        self.hook: Callable[[str, str, bool], None] = lambda call, name, done: None
        """Told each call, before it is carried out and after: the test's to raise from"""
        self.ran: list[frozenset[str]] = []
        """Those that ran, after each change"""

    @contextmanager
    def asked(self, call: str, name: str = "") -> Iterator[None]:
        self.hook(call, name, False)
        self.answer()
        yield
        if name:
            self.called.append((call, name))
        self.hook(call, name, True)

    def check(self) -> str:
        return self.name

    def deployments(self) -> tuple[Deployment, ...]:
        with self.asked("deployments"):
            shown = {**self.aside, **self.held}
            return tuple(
                replace(one, replaces=self.aside[name].id) if name in self.aside and name in self.held else one
                for name, one in shown.items()
            )

    def create(self, launch: Launch) -> None:
        with self.asked("create", launch.name):
            if launch.name in self.held:
                raise Refused(f"The name {launch.name} is taken.")
            self.held[launch.name] = Deployment(
                launch.name,
                self.name,
                launch.stack,
                f"id{time.monotonic_ns()}",
                "image",
                Lifecycle.CREATED,
                launch.service,
                time.time(),
                profile_digest=launch.profile_digest,
                gpus=launch.gpus if isinstance(launch.gpus, tuple) else (),
            )

    def set_aside(self, name: str) -> None:
        with self.asked("set aside", name):
            found = self._there(name)
            if found.lifecycle is Lifecycle.RUNNING:
                raise Refused(f"{name} runs.")
            if name in self.held:
                assert name not in self.aside, "there is one already"
                self.aside[name] = self.held.pop(name)

    def bring_back(self, name: str) -> None:
        self.answer()
        if name in self.aside and name not in self.held:
            with self.asked("bring back", name):
                self.held[name] = self.aside.pop(name)

    def drop_aside(self, name: str) -> None:
        self.answer()
        if name in self.aside and name in self.held:
            with self.asked("drop aside", name):
                del self.aside[name]

    def _there(self, name: str) -> Deployment:
        found = self.held.get(name) or self.aside.get(name)
        if not found:
            raise NotFound(f"{self.name} has no {name}.")
        return found

    def missing(self, launch: Launch) -> str:
        return self.misses

    def image_env(self, image: str) -> Mapping[str, str]:
        return {}

    def image_id(self, image: str) -> str:
        return f"sha256:{image}" if image and image not in self.elsewhere else ""

    def pull(self, image: str, told: Callable[[PhaseProgress], None], cancelled: threading.Event) -> bool:
        with self.asked("pull", image):
            for layer in range(1, 4):
                if cancelled.is_set():
                    return False
                told(PhaseProgress(Phase.PULL, 0.0, done=layer * 2**30, total=3 * 2**30, unit="bytes"))
            self.elsewhere.discard(image)
        return True

    def foreign(self) -> tuple[Deployment, ...]:
        self.answer()
        return tuple(self.outside.values())

    def claim(self, id: str, launch: Launch, *, this_run_only: bool) -> None:
        with self.asked("claim", launch.name):
            self._claim(id, launch)
        if this_run_only:
            self.this_run_only.add(launch.name)

    def _claim(self, id: str, launch: Launch) -> None:
        kept = next((kept for kept in (self.outside, self.held) for found in kept.values() if found.id == id), None)
        if kept is None:
            raise NotFound(f"{self.name} has nothing with the id {id}.")
        before = next(found for found in kept.values() if found.id == id)
        if launch.name in self.held and self.held[launch.name].id != id:
            raise Refused(f"The deployment {launch.name} exists already.")
        del kept[before.name]
        self.claimed[launch.name] = self.claimed.pop(before.name, before)
        self.held[launch.name] = replace(
            before,
            name=launch.name,
            stack=launch.stack,
            service=launch.service,
            profile_digest=launch.profile_digest,
            foreign=False,
            adopted=before.foreign or before.adopted,
        )

    def unclaim(self, name: str) -> None:
        self.answer()
        if before := self.claimed.pop(name, None):
            now = self.held.pop(name)
            kept = self.outside if before.foreign else self.held
            kept[before.name] = replace(before, lifecycle=now.lifecycle)

    def keep_record(self, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
        with self.asked("keep record"), self.records_lock:
            return self.records.setdefault(name, dict(facts))

    def record(self, name: str) -> Mapping[str, str] | None:
        with self.asked("record"), self.records_lock:
            return self.records.get(name)

    def drop_record(self, name: str) -> None:
        with self.asked("drop record"), self.records_lock:
            self.records.pop(name, None)

    def answer(self) -> None:
        if self.unreachable:
            raise RuntimeUnreachable(f"{self.name} does not answer.")

    def gpus(self, name: str) -> tuple[str, ...] | None:
        return self.seen

    def stranger(self, name: str) -> str:
        self.answer()
        return self.strangers.get(name, "")

    def change(self, name: str, **values: object) -> None:
        if name not in self.held:
            raise NotFound(f"{self.name} has no {name}.")
        self.held[name] = replace(self.held[name], **values)  # type: ignore[arg-type]
        self.ran.append(frozenset(one.name for one in self.held.values() if one.lifecycle is Lifecycle.RUNNING))

    def start(self, name: str) -> None:
        with self.asked("start", name):
            if self.start_error:
                raise OperationFailed(self.start_error)
            self.bring_back(name)
            if name in self.held and self.held[name].lifecycle is Lifecycle.RUNNING:
                return
            self.change(name, lifecycle=Lifecycle.RUNNING, started_at=time.time(), exit_code=None)

    def stop(self, name: str, timeout_s: float) -> None:
        with self.asked("stop", name):
            if self.stop_works:
                self.end(name, 0)

    def end(self, name: str, exit_code: int) -> None:
        """Of itself, too."""
        self.change(name, lifecycle=Lifecycle.EXITED, exit_code=exit_code, finished_at=time.time())
        if name in self.goes_when_stopped:
            del self.held[name]
        elif name in self.this_run_only:
            self.this_run_only.discard(name)
            self.unclaim(name)

    def remove(self, name: str) -> None:
        with self.asked("remove", name):
            if self._there(name).lifecycle is Lifecycle.RUNNING:
                raise Refused(f"{name} runs.")
            del (self.held if name in self.held else self.aside)[name]

    def logs(self, name: str, *, tail: int | None, follow: bool, since: float | None = None) -> "MemoryLog":
        with self.asked("logs"):
            return MemoryLog(self.log)

    def watch(self, changed: Callable[[], None], closing: threading.Event) -> None:
        closing.wait()


class MemoryLog:
    secrets: Sequence[str] = ()

    def __init__(self, text: bytes) -> None:
        self._text = text

    def __iter__(self) -> Iterator[bytes]:
        yield self._text

    def close(self) -> None:
        pass
