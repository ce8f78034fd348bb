"""A swap to the one as which the server of the outgoing was started: it can be made only when that has stopped."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from engine.deployment import Protocol, Service
from engine.deployments import Deployments
from engine.operations.conductor import Conductor
from engine.plan import Launch, Outgoing, Plan, PortBinding, SwapPlan
from engine.request import Action, Way
from engine.runtimes.base import Runtime
from engine.runtimes.process import ProcessRuntime
from engine.snapshot import OperationStatus, Outcome, StepKind
from engine.stacks.placement import NO_CREDIT, Credit
from tests.real.triton_support import free_ports, kill_all, settings_in
from tests.unit.operations_bench import Bench, Killed, bench, ready, server

__all__ = ["bench", "ready", "server"]  # the fixtures

SERVES = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"data": [{"id": "m"}]}')
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b'data: {"choices": [{"text": "pong", "finish_reason": "stop"}]}\\n\\ndata: [DONE]\\n\\n')
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclass
class Late:
    """`a` is served by what was started as `m`."""

    bench: Bench
    runtime: Runtime
    launch: Launch
    root: Path

    def plan(self, name: str, runtime: str | None, credit: Credit) -> Plan:
        return Plan(replace(self.launch, name=name), "p.yaml")

    def plan_swap(self, name: str, outgoing: tuple[str, ...], runtime: str | None, *, full: bool) -> SwapPlan:
        found = [one for one in self.runtime.deployments() if one.name in outgoing]
        out = tuple(Outgoing(one.name, one.runtime, one.id, running=True) for one in found)
        return SwapPlan(self.plan(name, runtime, NO_CREDIT), out, Way.FULL, "asked for")

    @property
    def names(self) -> dict[str, str]:
        """And what is set aside for each."""
        return {one.name: one.replaces for one in self.runtime.deployments()}


@pytest.fixture
def late(bench: Bench, tmp_path: Path) -> Iterator[Late]:
    own = settings_in(tmp_path)
    runtime, [port] = ProcessRuntime(own), free_ports(1)
    url = f"http://127.0.0.1:{port}"
    service = Service(Protocol.OPENAI, url, f"{url}/health", model="m", ready_timeout_s=30)
    ports = (PortBinding("http", "127.0.0.1", port, port),)
    launch = Launch("m", "vllm", "process", (sys.executable, "-c", SERVES, str(port)), service, ports=ports)
    one = Late(bench, runtime, launch, own.state_dir / "deployments")
    tools = replace(
        bench.tools, settings=own, deployments=Deployments({"process": runtime}), plan=one.plan, plan_swap=one.plan_swap
    )
    bench.conductor = Conductor(tools, bench.audited.append)
    runtime.create(launch)
    runtime.start("m")
    [there] = runtime.deployments()
    runtime.claim(there.id, replace(launch, name="a"), this_run_only=True)
    assert one.names == {"a": ""}
    yield one
    kill_all(own)


def test_what_was_set_aside_for_it_goes_when_it_serves(late: Late) -> None:
    status = late.bench.run(Action.SWAP, "m", outgoing=("a",))
    assert status.outcome is Outcome.DONE
    assert late.names == {"m": ""}
    assert not list((late.root / ".aside").iterdir())
    kinds = [step.kind for step in status.steps]
    assert kinds.index(StepKind.STOP) < kinds.index(StepKind.CREATE)
    assert [(step.title, step.subject) for step in status.steps if step.kind is StepKind.LET_GO] == [
        ("remove the one before", "m"),
        ("let go", "a"),
    ]
    assert status.steps[-1].detail == "gone with the server of m that it was loaded into"
    assert status.message.endswith("a is unloaded.")


def test_it_goes_when_its_swap_was_killed_and_is_finished(late: Late) -> None:
    def strike(status: OperationStatus) -> None:
        if status.current and status.current.kind is StepKind.PROMPT:
            late.bench.journal.dead = True
            raise Killed

    late.bench.at = strike
    with pytest.raises(Killed):
        late.bench.run(Action.SWAP, "m", outgoing=("a",))
    late.bench.bury()
    operation = late.bench.journal.recent()[0]
    assert operation.unsettled
    status = late.bench.run(Action.FINISH, operation.id)
    assert late.names == {"m": ""}
    assert status.steps[-1].detail == "gone with the server of m that it was loaded into"
