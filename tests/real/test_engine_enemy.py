"""The engine against what an ill-disposed world does to it: real processes, containers, sockets and files."""

import asyncio
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engine.deployment import Lifecycle, State
from engine.errors import EngineError
from engine.facade import Engine
from engine.observe.probe import Health, probe
from engine.observe.state import judge
from engine.request import Action
from engine.runtimes.docker import DockerRuntime
from engine.settings import Settings
from engine.snapshot import Model, StepKind
from tests.real.docker_support import Launches, wait_until
from tests.real.performing import NotDone, perform
from tests.real.triton_support import free_ports

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("misbehaving_server.py")
PROFILE = """\
name: {name}
stack: triton
runtime: process
program: {program}
repository: .
env: {{FAULT: {fault}}}
expose: {{http: {ports[0]}, metrics: {ports[1]}}}
ready: {{timeout: 60s{prompt}}}
"""


@dataclass
class Bench:
    """An engine over a state folder of its own, and one profile whose server does as `fault` says."""

    engine: Engine
    folder: Path
    name: str
    ports: list[int] = field(default_factory=lambda: free_ports(2))
    """What is `auto` may be given to a server of a test that runs beside this one, too"""

    @property
    def profile(self) -> Path:
        return self.folder / "profiles" / "one.yaml"

    def write(self, fault: str = "none", extra: str = "", prompt: str = "") -> None:
        text = PROFILE.format(
            name=self.name, program=self.folder / "server", fault=fault, ports=self.ports, prompt=prompt
        )
        self.profile.write_text(text + extra)

    def model(self) -> Model:
        found = self.engine.survey().model(self.name)
        assert found
        return found

    def step(self) -> StepKind | None:
        """What the newest operation is doing, as any console sees it."""
        current = next((operation.current for operation in self.engine.survey().operations), None)
        return current.kind if current else None

    def in_background(self, action: Action) -> tuple[threading.Thread, list[NotDone]]:
        errors: list[NotDone] = []

        def carry_out() -> None:
            try:
                perform(self.engine, action, self.name)
            except NotDone as error:
                errors.append(error)

        thread = threading.Thread(target=carry_out, daemon=True)
        thread.start()
        return thread, errors


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    program = tmp_path / "server"
    program.write_text(f"#!{sys.executable}\n{PROGRAM.read_text()}")
    program.chmod(0o755)
    (tmp_path / "profiles").mkdir()
    engine = Engine(Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path))
    made = Bench(engine, tmp_path, f"enemy-{secrets.token_hex(4)}")
    made.write()
    yield made
    for runtime in engine._parts.runtimes.values():
        try:
            runtime.stop(made.name, 5)
            runtime.remove(made.name)
        except EngineError:
            continue
    engine.close()


def test_a_restart_without_its_profile_interrupts_nothing(bench: Bench) -> None:
    perform(bench.engine, Action.START, bench.name)
    before = bench.model().deployment
    bench.profile.unlink()
    with pytest.raises(NotDone, match="no profile"):
        perform(bench.engine, Action.RESTART, bench.name)
    assert bench.model().deployment == before
    assert bench.model().state is State.READY


def test_a_first_look_at_a_ready_server_says_ready(bench: Bench) -> None:
    """A server that another console started without waiting is not `starting` for ever."""
    perform(bench.engine, Action.START, bench.name, wait=False)
    wait_until(lambda: bench.model().state is State.READY, "ready")
    for _ in range(3):
        assert bench.model().state is State.READY


def test_what_could_not_get_its_secret_leaves_nothing(bench: Bench) -> None:
    bench.write(extra="secrets: {TOKEN: env:NO_SUCH_VARIABLE_ANYWHERE}\n")
    with pytest.raises(NotDone, match="NO_SUCH_VARIABLE_ANYWHERE"):
        perform(bench.engine, Action.START, bench.name)
    assert bench.model().state is State.ABSENT


def test_a_deadline_holds_for_the_prompt_too_and_a_stop_ends_it(bench: Bench) -> None:
    """The server is ready, and says nothing to a prompt but an answer that never ends."""
    bench.write(fault="endless", prompt=", prompt: ping")
    began = time.monotonic()
    with pytest.raises(NotDone, match="did not answer a prompt within 2 s"):
        perform(bench.engine, Action.START, bench.name, timeout_s=2)
    assert time.monotonic() - began < 10
    thread, errors = bench.in_background(Action.START)
    wait_until(lambda: bench.step() is StepKind.PROMPT, "the second start waits for its prompt")
    perform(bench.engine, Action.STOP, bench.name)
    thread.join(10)
    assert "was stopped while it was starting" in str(errors[0])


def test_the_same_files_elsewhere_are_another_deployment(bench: Bench) -> None:
    """What is relative in a profile means something else in another folder: nothing of the old is reused."""
    perform(bench.engine, Action.START, bench.name)
    perform(bench.engine, Action.STOP, bench.name)
    kept = bench.model().deployment
    bench.profile.parent.rename(bench.folder / "other")
    moved = Engine(replace(bench.engine._settings, profiles_dirs=(bench.folder / "other",)))
    perform(moved, Action.START, bench.name)
    now = moved._parts.deployments.require(bench.name)[1]
    assert kept
    assert now.id != kept.id


@pytest.mark.docker
def test_what_runs_is_meant_when_both_runtimes_have_the_name(
    bench: Bench, runtime: DockerRuntime, launches: Launches
) -> None:
    launch = launches("exit 0", name=bench.name)
    runtime.create(launch)
    runtime.start(launch.name)
    wait_until(lambda: bench.model().state is State.STOPPED, "the container has ended")
    process = bench.engine._parts.runtimes["process"]
    process.create(bench.engine.plan(bench.name).launch)
    process.start(bench.name)
    wait_until(lambda: bench.model().state is State.READY, "ready")
    assert "was not running" not in perform(bench.engine, Action.STOP, bench.name).message
    assert all(found.lifecycle is Lifecycle.EXITED for found in process.deployments())


@pytest.mark.docker
def test_a_paused_container_says_so(runtime: DockerRuntime, launches: Launches) -> None:
    launch = launches()
    runtime.create(launch)
    runtime.start(launch.name)
    subprocess.run(["docker", "pause", launch.container_name], check=True, capture_output=True, timeout=30)
    found = next(one for one in runtime.deployments() if one.name == launch.name)
    verdict = judge(found, None, (), time.time(), was_ready=True)
    assert f"docker unpause {launch.container_name}" in found.error
    assert found.error == judge(found, None, (), time.time(), was_ready=False).detail
    assert verdict.state is not State.FAILED
    subprocess.run(["docker", "unpause", launch.container_name], check=True, capture_output=True, timeout=30)
    assert not next(one for one in runtime.deployments() if one.name == launch.name).error


def test_a_part_that_hangs_holds_up_no_exit(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, threading, time\n"
        "from engine.facade import Engine\n"
        "from engine.settings import Settings\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "engine = Engine(Settings(folder, folder, folder, (), folder))\n"
        "hung = threading.Barrier(3)\n"
        "engine._gpu_sampler.sample = engine._parts.catalog.load = lambda **_: (hung.wait(), time.sleep(600))\n"
        "engine.open(); hung.wait(20); engine.close()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, timeout=30)


def test_what_fails_unforeseen_is_told_and_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    process = bench.engine._parts.runtimes["process"]
    failures = iter([ValueError("\x1b[31mnobody foresaw this")] * 2)
    look = process.deployments

    def deployments() -> object:
        for failure in failures:
            raise failure
        return look()

    monkeypatch.setattr(process, "deployments", deployments)
    seen: list[str] = []
    bench.engine.subscribe(lambda snapshot: seen.append(snapshot.trouble))
    bench.engine.open()
    wait_until(lambda: any("nobody foresaw this" in trouble for trouble in seen), "it is told")
    wait_until(lambda: not bench.engine._monitor.latest.trouble, "it is well again")
    assert not any("\x1b" in trouble for trouble in seen)
    assert {status.name for status in bench.engine._monitor.latest.runtimes} == {"docker", "process"}


def _drip(client: socket.socket) -> None:
    client.recv(4096)
    client.sendall(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while True:
        client.sendall(b"a")
        time.sleep(0.2)


def _never_final(client: socket.socket) -> None:
    client.recv(4096)
    while True:
        client.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        time.sleep(0.01)


@pytest.mark.parametrize("answer", [_drip, _never_final])
def test_a_head_that_never_ends_is_silence(answer: Callable[[socket.socket], None]) -> None:
    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        try:
            answer(client)
        except OSError:
            client.close()

    async def ask(port: int) -> Health:
        return (await asyncio.wait_for(probe(f"http://127.0.0.1:{port}/"), 20)).health

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        assert asyncio.run(ask(listener.getsockname()[1])) is Health.SILENT
