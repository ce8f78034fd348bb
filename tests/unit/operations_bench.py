"""A conductor over runtimes in memory and a real HTTP server that is ready when the test says so."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.deployments import Deployments
from engine.diagnosis import Diagnosis
from engine.errors import NotFound, OperationFailed
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
from engine.startup import Startup
from engine.store import Entry, Journal
from tests.unit.memory_runtime import MemoryRuntime
from tests.unit.model_server import Server


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


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
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
