"""Local programs and the real tritonserver for tests, through the process runtime, and nothing left behind."""

import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from engine.deployment import Deployment, Protocol, Service
from engine.errors import EngineError
from engine.plan import Launch
from engine.runtimes.process import ProcessRuntime
from engine.runtimes.process_identity import send, survivors
from engine.runtimes.process_state import Record
from engine.settings import Settings
from engine.stacks.local_triton import find_tritonserver

T = TypeVar("T")
DEMO_REPOSITORY = Path(__file__).parents[2] / "profiles/repositories/demo"


def settings_in(folder: Path) -> Settings:
    return Settings(folder / "config", folder / "state", folder / "cache", working_dir=folder)


def free_ports(count: int) -> list[int]:
    """Of the loopback interface, free at this moment and each another."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = 20.0) -> T:
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)
    return value


def of(runtime: ProcessRuntime, name: str) -> Deployment:
    return next(deployment for deployment in runtime.deployments() if deployment.name == name)


def text_of(runtime: ProcessRuntime, name: str, *, tail: int | None = None) -> str:
    """The log without its times."""
    lines = b"".join(runtime.logs(name, tail=tail, follow=False)).decode(errors="replace").splitlines()
    return "\n".join(line[31:] for line in lines)


def kill_all(settings: Settings) -> None:
    """Ends every process of every deployment in the state folder, shims first, whatever state it is in."""
    root = settings.state_dir / "deployments"
    for folder in root.iterdir() if root.is_dir() else ():
        record = Record.read(folder)
        if record.run and record.run.shim:
            send(record.run.shim, signal.SIGKILL)
        if record.launch_id:
            for identity in survivors(record.launch_id, record.run.server if record.run else None):
                send(identity, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class DemoServer:
    runtime: ProcessRuntime
    name: str
    http: str
    grpc: str
    metrics: str


@contextlib.contextmanager
def demo_server(folder: Path, name: str = "demo") -> Iterator[DemoServer]:
    """The demo's repository on the real tritonserver, started and ready, and stopped at the end."""
    settings = settings_in(folder)
    try:
        local = find_tritonserver(settings)
    except EngineError as error:
        pytest.skip(str(error))
    http, grpc, metrics = free_ports(3)
    server = DemoServer(
        ProcessRuntime(settings),
        name,
        f"http://127.0.0.1:{http}",
        f"127.0.0.1:{grpc}",
        f"http://127.0.0.1:{metrics}/metrics",
    )
    ports = {"http": http, "grpc": grpc, "metrics": metrics}
    command = (
        local.program,
        f"--model-repository={DEMO_REPOSITORY}",
        *local.arguments,
        *(word for kind, port in ports.items() for word in (f"--{kind}-port={port}", f"--{kind}-address=127.0.0.1")),
        f"--backend-config=python,shm-region-prefix-name=test_{http}",
    )
    health = f"{server.http}/v2/health/ready"
    service = Service(Protocol.TRITON, server.http, health, server.grpc, server.metrics, "prose")
    try:
        server.runtime.create(Launch(name, "triton", "process", command, service, env=local.env))
        server.runtime.start(name)
        wait_until(lambda: _is_ready(server, health), "tritonserver is ready", 60)
        yield server
        server.runtime.stop(name, 45)
    finally:
        kill_all(settings)


def _is_ready(server: DemoServer, health: str) -> bool:
    import httpx

    assert of(server.runtime, server.name).lifecycle == "running", text_of(server.runtime, server.name)
    try:
        # It serves its metrics only after its models.
        return all(httpx.get(url, timeout=1).status_code == httpx.codes.OK for url in (health, server.metrics))
    except httpx.TransportError:
        return False
