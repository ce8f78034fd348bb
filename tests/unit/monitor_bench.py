"""A monitor over a runtime in memory and real HTTP servers."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.catalog import CatalogReader
from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError, NotFound
from engine.launches import Phases
from engine.observe import monitor as monitor_module
from engine.observe import plans_asked
from engine.observe.gpus import GpuSampler
from engine.observe.monitor import Monitor
from engine.plan import Launch, Plan
from engine.settings import Settings
from engine.snapshot import Estimate, LeaseStatus, Model
from engine.store import Journal
from tests.unit.operations_bench import until

PROFILE = "name: m\nstack: triton\nimage: example/triton:1\nrepository: repo\nmodel: m\nengine: {log_verbose: 1}\n"
LAUNCH = Launch(
    *("m", "triton", "docker", ("tritonserver", "--log-verbose=1")),
    Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready"),
    image="example/triton:1",
)
AWAKE = 'vllm:engine_sleep_state{{engine="0",sleep_state="awake"}} {}\nvllm:num_requests_running 3\n'


class Log:
    secrets: tuple[str, ...] = ()

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def __iter__(self) -> Iterator[bytes]:
        for line in self.lines:
            at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
            yield f"{at} {line}\n".encode()

    def close(self) -> None:
        pass


class Docker:
    """A runtime that only tells what there is."""

    name = "docker"

    def __init__(self) -> None:
        self.held: tuple[Deployment, ...] = ()
        self.by_hand: tuple[Deployment, ...] = ()
        self.images: Mapping[str, str] = {}
        self.written: dict[str, list[str]] = {}
        """Lines of logs, which then end"""
        self.error: EngineError | None = None
        self.changed: Callable[[], None] = lambda: None

    def check(self) -> str:
        return "Docker 1"

    def deployments(self) -> tuple[Deployment, ...]:
        if self.error:
            raise self.error
        return self.held

    def foreign(self) -> tuple[Deployment, ...]:
        return self.by_hand

    def image_id(self, image: str) -> str:
        return self.images.get(image, "")

    def logs(self, name: str, **_options: object) -> Log:
        if name not in self.written:
            raise NotFound(f"There is no container named {name}.")
        return Log(self.written[name])

    def stranger(self, name: str) -> str:
        del name
        return ""

    def watch(self, changed: Callable[[], None], closing: threading.Event) -> None:
        self.changed = changed
        closing.wait()


class Server:
    """Health and metrics; the metrics' text is the test's to say."""

    def __init__(self) -> None:
        self.metrics = "vllm:num_requests_running 3\n"
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(server.metrics.encode() if self.path == "/metrics" else b"")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        url = f"http://127.0.0.1:{self.http.server_port}"
        self.service = Service(Protocol.OPENAI, url, f"{url}/health", metrics=f"{url}/metrics")
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.http.shutdown()
    one.http.server_close()


@dataclass
class Watching:
    """A monitor with all that it can be given; each answer is the test's."""

    docker: Docker
    journal: Journal
    monitor: Monitor
    profile: Path
    launch: Launch = LAUNCH
    lease: LeaseStatus | None = None
    launched: frozenset[str] = frozenset()
    usual: dict[str, Phases] = field(default_factory=dict)
    plan_error: EngineError | None = None

    def plan(self, name: str, runtime: str | None) -> Plan:
        if self.plan_error:
            raise self.plan_error
        return Plan(self.launch, str(self.profile))

    def names(self) -> frozenset[str]:
        return self.launched

    def expect(self, plan: Plan) -> Estimate:
        return Estimate(41.0, 38.0, 55.0, 4)

    def model(self, name: str) -> Model:
        found = self.monitor.latest.model(name)
        assert found
        return found

    def see(self, condition: Callable[[Model], object], name: str = "m") -> None:
        until(lambda: bool((model := self.monitor.latest.model(name)) and condition(model)), 20)

    def changes(self) -> None:
        """As the engine's events tell it."""
        self.docker.changed()


@pytest.fixture
def watching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    for name in ("CATALOG_EVERY_S", "LEASE_HELD_EVERY_S", "RUNTIME_EVERY_S"):
        monkeypatch.setattr(monitor_module, name, 0.1)
    for name in ("EVERY_S", "IMAGES_EVERY_S"):
        monkeypatch.setattr(plans_asked, name, 0.1)
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    profile = settings.config_dir / "profiles" / "m.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(PROFILE)
    docker, journal = Docker(), Journal(tmp_path / "state" / "history.sqlite")
    made: list[Watching] = []
    monitor = Monitor(
        {"docker": docker},  # type: ignore[dict-item]
        CatalogReader(settings),
        journal,
        GpuSampler(),
        plan=lambda name, runtime: made[0].plan(name, runtime),
        history=_Late(made),
        usual=lambda deployment: made[0].usual.get(deployment.name, ()),
        lease=lambda: made[0].lease,
        read_only="--read-only says so",
    )
    made.append(Watching(docker, journal, monitor, profile))
    yield made[0]
    monitor.close()


class _Late:
    """The history of a bench that is made after its monitor."""

    def __init__(self, made: list[Watching]) -> None:
        self._made = made

    def names(self) -> frozenset[str]:
        return self._made[0].names()

    def expect(self, plan: Plan) -> Estimate:
        return self._made[0].expect(plan)


def running(service: Service, name: str = "m", **changes: object) -> Deployment:
    now = time.time()
    base = Deployment(name, "docker", "vllm", f"id-{name}", "example/triton:1", Lifecycle.RUNNING, service, now, now)
    return replace(base, **changes)  # type: ignore[arg-type]
