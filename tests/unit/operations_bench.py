"""A conductor over runtimes in memory and a real HTTP server that is ready when the test says so."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.deployments import Deployments
from engine.errors import NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.operations import job, lease
from engine.operations.conductor import Conductor
from engine.operations.job import Tools
from engine.operations.waiting import Waiting
from engine.plan import Adoption, Launch, Outgoing, PlacedGpu, Plan, PortBinding, SwapPlan
from engine.request import Action, Request, Way
from engine.settings import Settings
from engine.snapshot import AuditEntry, OperationStatus, Outcome
from engine.stacks.placement import Credit
from engine.store import Journal


class MemoryRuntime:
    """Keeps deployments in a dictionary; each fault is one attribute."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: dict[str, Deployment] = {}
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
        self.seen: tuple[str, ...] | None = ()
        """The GPUs that a deployment here says it sees"""

    def check(self) -> str:
        return self.name

    def deployments(self) -> tuple[Deployment, ...]:
        if self.unreachable:
            raise RuntimeUnreachable(f"{self.name} does not answer.")
        return tuple(self.held.values())

    def create(self, launch: Launch) -> None:
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

    def missing(self, launch: Launch) -> str:
        return self.misses

    def image_env(self, image: str) -> Mapping[str, str]:
        return {}

    def image_id(self, image: str) -> str:
        return f"sha256:{image}" if image else ""

    def foreign(self) -> tuple[Deployment, ...]:
        self.answer()
        return tuple(self.outside.values())

    def claim(self, id: str, launch: Launch, *, this_run_only: bool) -> None:
        self.answer()
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
        self.answer()
        with self.records_lock:
            return self.records.setdefault(name, dict(facts))

    def record(self, name: str) -> Mapping[str, str] | None:
        self.answer()
        with self.records_lock:
            return self.records.get(name)

    def drop_record(self, name: str) -> None:
        self.answer()
        with self.records_lock:
            self.records.pop(name, None)

    def answer(self) -> None:
        if self.unreachable:
            raise RuntimeUnreachable(f"{self.name} does not answer.")

    def gpus(self, name: str) -> tuple[str, ...] | None:
        return self.seen

    def change(self, name: str, **values: object) -> None:
        self.held[name] = replace(self.held[name], **values)  # type: ignore[arg-type]

    def start(self, name: str) -> None:
        if self.start_error:
            raise OperationFailed(self.start_error)
        self.change(name, lifecycle=Lifecycle.RUNNING, started_at=time.time(), exit_code=None)

    def stop(self, name: str, timeout_s: float) -> None:
        if self.stop_works:
            self.change(name, lifecycle=Lifecycle.EXITED, exit_code=0, finished_at=time.time())

    def remove(self, name: str) -> None:
        del self.held[name]

    def logs(self, name: str, *, tail: int | None, follow: bool, since: float | None = None) -> "MemoryLog":
        return MemoryLog()

    def watch(self, changed: Callable[[], None], closing: threading.Event) -> None:
        closing.wait()


class MemoryLog:
    def __iter__(self) -> Iterator[bytes]:
        yield b"2026-01-01T00:00:00.000000000Z fine so far\n2026-01-01T00:00:01.000000000Z Error: no \x1b[31mmodel\n"

    def close(self) -> None:
        pass


class Failed(Exception):
    """An operation that did not end as done."""

    def __init__(self, status: OperationStatus) -> None:
        super().__init__(status.message)
        self.status = status


class NoHistory:
    def expect(self, plan: Plan, way: Way = Way.FULL) -> None:
        return None

    def launched(self, plan: Plan, status: OperationStatus, *, ready: bool, way: Way = Way.FULL) -> None:
        pass


class Bench:
    """A conductor over two runtimes, and a server whose readiness the test holds."""

    def __init__(self, folder: Path, url: str) -> None:
        self.docker, self.process = MemoryRuntime("docker"), MemoryRuntime("process")
        self.settings = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
        self.journal = Journal(folder / "state" / "history.sqlite")
        self.service = Service(Protocol.OPENAI, url, f"{url}/health", model="m", ready_timeout_s=10)
        self.ports: tuple[PortBinding, ...] = ()
        self.digest = "1"
        self.gpus: tuple[str, ...] = ()
        self.obstacles: tuple[str, ...] = ()
        self.planned = 0
        self.memory_error = ""
        self.audited: list[AuditEntry] = []
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
        )
        self.conductor = Conductor(self.tools, self.audited.append)

    def plan(self, name: str, runtime: str | None, credit: Credit) -> Plan:
        self.planned += 1
        launch = Launch(name, "triton", runtime or "docker", (), self.service, ports=self.ports, gpus=self.gpus or 0)
        placement = tuple(PlacedGpu(index, uuid, "H100") for index, uuid in enumerate(self.gpus))
        return Plan(
            replace(launch, profile_digest=self.digest), "p.yaml", obstacles=self.obstacles, placement=placement
        )

    def plan_swap(self, name: str, outgoing: tuple[str, ...], runtime: str | None, *, full: bool) -> SwapPlan:
        found = [self.tools.deployments.require(one)[1] for one in outgoing]
        gone = tuple(Outgoing(one.name, one.runtime, one.id, one.lifecycle is Lifecycle.RUNNING) for one in found)
        return SwapPlan(self.plan(name, runtime, Credit(frozenset(outgoing))), gone, Way.FULL, "asked for")

    def plan_adoption(self, name: str) -> Adoption:
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

    def runs(self, name: str) -> bool:
        held = self.docker.held.get(name)
        return held is not None and held.lifecycle is Lifecycle.RUNNING


class Server:
    """Health and completions as vLLM has them; what it answers is the test's to say."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if server.ready.is_set() else 400)
                self.end_headers()

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if not server.answers.is_set():
                    self.send_error(500, "the engine is dead")
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                self.wfile.write(b'data: {"choices": [{"text": "pong", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


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
