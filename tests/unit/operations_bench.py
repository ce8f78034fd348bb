"""A conductor over runtimes in memory and a real HTTP server that is ready when the test says so."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.deployments import Deployments
from engine.diagnosis import Diagnosis
from engine.errors import NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.lease import LEASE
from engine.operations import job, lease
from engine.operations import ready as readiness
from engine.operations.conductor import Conductor
from engine.operations.job import Tools
from engine.operations.waiting import Waiting
from engine.plan import Adoption, Launch, Outgoing, PlacedGpu, Plan, PortBinding, SwapPlan
from engine.request import Action, Request, Way
from engine.settings import Settings
from engine.snapshot import AuditEntry, OperationStatus, Outcome
from engine.stacks.placement import Credit
from engine.startup import Phase, PhaseProgress, Startup
from engine.store import Entry, Journal
from tests.unit.model_server import Server


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


class Failed(Exception):
    """An operation that did not end as done."""

    def __init__(self, status: OperationStatus) -> None:
        super().__init__(status.message)
        self.status = status


class Killed(BaseException):
    """From then on its process does nothing any more."""


class MortalJournal(Journal):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.works = True
        self.dead = False

    @property
    def problem(self) -> str:
        return super().problem if self.works else "The history cannot be written: no space left on device."

    def write(self, entry: Entry) -> bool:
        if self.dead:
            raise Killed
        return self.works and super().write(entry)


class NoHistory:
    def expect(self, plan: Plan, way: Way = Way.FULL) -> None:
        return None

    def usual(self, deployment: Deployment) -> tuple[tuple[str, float], ...]:
        return ()

    def files(self, plan: Plan) -> Path | None:
        return None

    def launched(
        self,
        plan: Plan,
        status: OperationStatus,
        *,
        ready: bool,
        way: Way = Way.FULL,
        startup: Startup | None = None,
    ) -> None:
        pass


class Bench:
    """A conductor over two runtimes, and a server whose readiness the test holds."""

    def __init__(self, folder: Path, url: str) -> None:
        self.docker, self.process = MemoryRuntime("docker"), MemoryRuntime("process")
        self.settings = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
        self.journal = MortalJournal(folder / "state" / "history.sqlite")
        self.service = Service(Protocol.OPENAI, url, f"{url}/health", model="m", ready_timeout_s=10)
        self.services: dict[str, Service] = {}
        """Of those that answer elsewhere, by their names"""
        self.stack, self.way = "triton", Way.FULL
        self.unknown: set[str] = set()
        """Those whose profile is gone"""
        self.ports: tuple[PortBinding, ...] = ()
        self.image: str | None = None
        self.digest = "1"
        self.gpus: tuple[str, ...] = ()
        self.obstacles: tuple[str, ...] = ()
        self.planned = 0
        self.memory_error = ""
        self.diagnosis = Diagnosis(())
        self.audited: list[AuditEntry] = []
        self.adoptions: dict[str, Adoption] = {}
        self.cancelled = threading.Event()
        self.at: Callable[[OperationStatus], None] = lambda _: None
        """Told every status, in the operation's own thread"""
        runtimes = {"docker": self.docker, "process": self.process}
        self.tools = Tools(
            settings=self.settings,
            deployments=Deployments(runtimes),
            journal=self.journal,
            plan=self.plan,
            plan_swap=self.plan_swap,
            plan_adoption=self.plan_adoption,
            wait_for_memory=self.wait_for_memory,
            history=NoHistory(),
            diagnose=self.diagnose,
        )
        self.conductor = Conductor(self.tools, self.audited.append)

    def plan(self, name: str, runtime: str | None, credit: Credit) -> Plan:
        self.planned += 1
        if name in self.unknown:
            raise NotFound(f"There is no profile {name}.")
        service = self.services.get(name, self.service)
        launch = Launch(
            name, self.stack, runtime or "docker", (), service, self.image, ports=self.ports, gpus=self.gpus or 0
        )
        placement = tuple(PlacedGpu(index, uuid, "H100") for index, uuid in enumerate(self.gpus))
        return Plan(
            replace(launch, profile_digest=self.digest), "p.yaml", obstacles=self.obstacles, placement=placement
        )

    def plan_swap(self, name: str, outgoing: tuple[str, ...], runtime: str | None, *, full: bool) -> SwapPlan:
        found = [self.tools.deployments.require(one)[1] for one in outgoing]
        gone = tuple(Outgoing(one.name, one.runtime, one.id, one.lifecycle is Lifecycle.RUNNING) for one in found)
        return SwapPlan(self.plan(name, runtime, Credit(frozenset(outgoing))), gone, self.way, "asked for")

    def diagnose(self, deployment: Deployment) -> Diagnosis:
        return self.diagnosis

    def plan_adoption(self, name: str) -> Adoption:
        if adoption := self.adoptions.get(name):
            return adoption
        raise NotFound(f"There is no container {name}.")

    def wait_for_memory(self, plan: Plan, waiting: Waiting, way: Way) -> str:
        if self.memory_error:
            raise OperationFailed(self.memory_error)
        return "free"

    def run(self, action: Action, name: str = "m", **options: object) -> OperationStatus:
        """Raises `Failed` when it did not end as done."""
        request = Request(action, name, **options)  # type: ignore[arg-type]
        status = self.conductor.run(request, progress=self.at, cancelled=self.cancelled)
        if status.outcome is not Outcome.DONE:
            raise Failed(status)
        return status

    def kill(self) -> None:
        """As kill -9 does: whatever it would do next, it does not, and neither does it say so anywhere."""
        self.journal.dead = True

        def dead(call: str, name: str, done: bool) -> None:
            raise Killed

        self.docker.hook = self.process.hook = dead
        raise Killed

    def bury(self) -> None:
        """What was killed is dead to all who look, and others go on."""
        self.journal.dead = False
        self.at = lambda _: None
        for runtime in (self.docker, self.process):
            runtime.hook = lambda call, name, done: None
            if LEASE in runtime.records:
                runtime.records[LEASE] = {**runtime.records[LEASE], "started": "1"}
        with closing(sqlite3.connect(self.settings.state_dir / "history.sqlite")) as database, database:
            database.execute("UPDATE journal SET pid_began = 1 WHERE outcome = 'running'")

    def runs(self, name: str) -> bool:
        held = self.docker.held.get(name)
        return held is not None and held.lifecycle is Lifecycle.RUNNING


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.close()


@pytest.fixture
def ready(server: Server) -> threading.Event:
    return server.ready


@pytest.fixture
def bench(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(lease, "GIVE_BACK_S", 0.2)
    monkeypatch.setattr(job, "PATIENCE_S", 0.3)
    monkeypatch.setattr(job, "PATIENCE_EVERY_S", 0.02)
    monkeypatch.setattr(job, "AGAIN_S", 0.3)
    monkeypatch.setattr(readiness, "PROBE_EVERY_S", 0.02)
    return Bench(tmp_path, server.url)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def in_background(
    bench: Bench, action: Action, name: str = "m", **options: object
) -> tuple[threading.Thread, list[Failed]]:
    errors: list[Failed] = []

    def carry_out() -> None:
        try:
            bench.run(action, name, **options)
        except Failed as error:
            errors.append(error)

    thread = threading.Thread(target=carry_out, daemon=True)
    thread.start()
    return thread, errors
