"""A conductor over runtimes in memory and a real HTTP server that is ready when the test says so."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError, OperationFailed, RuntimeUnreachable
from engine.operations.conductor import Conductor
from engine.plan import Launch, PlacedGpu, Plan, PortBinding
from engine.request import Action
from engine.settings import Settings
from engine.snapshot import OperationStatus
from engine.store import Journal


class MemoryRuntime:
    """Keeps deployments in a dictionary; each fault is one attribute."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: dict[str, Deployment] = {}
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


class Bench:
    """A conductor over two runtimes, and a server whose readiness the test holds."""

    def __init__(self, folder: Path, url: str, port: int) -> None:
        self.docker, self.process = MemoryRuntime("docker"), MemoryRuntime("process")
        self.settings = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
        self.journal = Journal(folder / "state" / "history.sqlite")
        self.service = Service(Protocol.TRITON, url, f"{url}/v2/health/ready", ready_timeout_s=10)
        self.ports: tuple[PortBinding, ...] = ()
        self.digest = "1"
        self.gpus: tuple[str, ...] = ()
        self.obstacles: tuple[str, ...] = ()
        self.planned = 0
        self.conductor = Conductor(
            self.settings, {"docker": self.docker, "process": self.process}, self.journal, self.plan
        )

    def plan(self, name: str, runtime: str | None) -> Plan:
        self.planned += 1
        launch = Launch(name, "triton", runtime or "docker", (), self.service, ports=self.ports, gpus=self.gpus or 0)
        placement = tuple(PlacedGpu(index, uuid, "H100") for index, uuid in enumerate(self.gpus))
        return Plan(
            replace(launch, profile_digest=self.digest), "p.yaml", obstacles=self.obstacles, placement=placement
        )

    def run(self, action: Action, **options: object) -> OperationStatus:
        return self.conductor.run(action, "m", **options)  # type: ignore[arg-type]


@pytest.fixture
def ready() -> threading.Event:
    return threading.Event()


@pytest.fixture
def bench(tmp_path: Path, ready: threading.Event) -> Iterator[Bench]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if ready.is_set() else 400)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield Bench(tmp_path, f"http://127.0.0.1:{server.server_port}", server.server_port)
    server.shutdown()
    server.server_close()


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def in_background(bench: Bench, action: Action) -> tuple[threading.Thread, list[EngineError]]:
    errors: list[EngineError] = []

    def carry_out() -> None:
        try:
            bench.run(action)
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=carry_out, daemon=True)
    thread.start()
    return thread, errors
