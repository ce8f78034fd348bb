"""The console over the real engine while what it watches misbehaves: each fault is a sentence, and nothing stops."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.deployment import State
from engine.facade import Engine
from engine.request import Action, Request
from engine.runtimes.docker import DockerRuntime
from engine.settings import Settings
from tests.real.docker_support import SHELL_IMAGE, Launches, PrivateEngine, import_shell_image
from tests.real.performing import NotDone, perform
from tests.real.triton_support import free_ports
from tui.app import Console
from tui.screens.main import MainScreen
from tui.widgets.model_list import ModelList

PROGRAM = Path(__file__).with_name("misbehaving_server.py")
PROFILE = """\
name: bad
stack: triton
runtime: process
program: {program}
repository: .
env: {{FAULT: {fault}}}
expose: {{http: {http}, metrics: {metrics}}}
ready: {{timeout: 60s}}
"""


def screen_text(pilot: Pilot[None]) -> str:
    strips = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


async def until(pilot: Pilot[None], condition: Callable[[], bool], seconds: float = 30.0) -> None:
    for _ in range(int(seconds / 0.05)):
        await pilot.pause(0.05)
        if condition():
            return
    raise AssertionError(f"it did not happen in {seconds} s; the screen:\n{screen_text(pilot)}")


@asynccontextmanager
async def console(tmp_path: Path, fault: str) -> AsyncIterator[Pilot[None]]:
    """With the profile `bad`, started when `fault` is not empty; everything is taken away afterwards."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    program = tmp_path / "server"
    program.write_text(f"#!{sys.executable}\n{PROGRAM.read_text()}")
    program.chmod(0o755)
    http, metrics = free_ports(2)  # what is `auto` may be given to a server of a test that runs beside this one, too
    (folder / "bad.yaml").write_text(PROFILE.format(program=program, fault=fault, http=http, metrics=metrics))
    engine = Engine(Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (folder,), tmp_path))
    app = Console(lambda: engine)
    try:
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await until(pilot, lambda: "bad" in screen_text(pilot))
            assert isinstance(app.screen, MainScreen)
            app.screen.query_one(ModelList).select("bad")
            engine.submit(Request(Action.START, "bad"))
            yield pilot
    finally:
        engine.close()
        try:
            perform(engine, Action.REMOVE, "bad")
        except NotDone as error:
            assert "not been started" in str(error)  # noqa: PT017 (anything else is left behind)


def state(pilot: Pilot[None]) -> State:
    assert isinstance(pilot.app.screen, MainScreen)
    model = pilot.app.screen.snapshot.model("bad") if pilot.app.screen.snapshot else None
    return model.state if model else State.ABSENT


async def test_a_server_that_exits_at_once(tmp_path: Path) -> None:
    async with console(tmp_path, "exits") as pilot:
        await until(pilot, lambda: state(pilot) is State.FAILED)
        await until(pilot, lambda: "there is no model" in screen_text(pilot))
        await until(pilot, lambda: "exit code 3" in screen_text(pilot))


async def test_a_server_that_accepts_and_never_answers(tmp_path: Path) -> None:
    async with console(tmp_path, "silent") as pilot:
        await until(pilot, lambda: "did not answer within 2 s" in screen_text(pilot))
        assert state(pilot) is State.STARTING
        await pilot.press("2")
        await until(pilot, lambda: "/metrics accepted the connection and did not answer" in screen_text(pilot))
        await pilot.press("escape", "x")
        await until(pilot, lambda: "stop bad?" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: state(pilot) is State.STOPPED)


async def test_a_metrics_endpoint_that_returns_rubbish(tmp_path: Path) -> None:
    async with console(tmp_path, "rubbish") as pilot:
        await until(pilot, lambda: state(pilot) is State.READY)
        await pilot.press("2")
        await until(pilot, lambda: "no Prometheus exposition" in screen_text(pilot))


async def test_a_log_with_ten_megabytes_in_a_line_binary_and_escape_sequences(tmp_path: Path) -> None:
    async with console(tmp_path, "log") as pilot:
        await until(pilot, lambda: "red after" in screen_text(pilot))
        text = screen_text(pilot)
        assert "\x1b" not in text
        assert "ZXZpbA" not in text
        await pilot.press("1", "g")
        await until(pilot, lambda: "before" in screen_text(pilot))


async def test_docker_absent_is_a_sentence_and_processes_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nowhere.sock")
    async with console(tmp_path, "none") as pilot:
        await until(pilot, lambda: "docker unreachable" in screen_text(pilot))
        await until(pilot, lambda: state(pilot) is State.READY)


async def test_a_server_killed_from_outside_is_failed_within_seconds(tmp_path: Path) -> None:
    async with console(tmp_path, "none") as pilot:
        await until(pilot, lambda: state(pilot) is State.READY)
        assert isinstance(pilot.app.screen, MainScreen)
        assert pilot.app.screen.snapshot
        model = pilot.app.screen.snapshot.model("bad")
        assert model
        assert model.deployment
        assert model.deployment.pid
        os.kill(model.deployment.pid, 9)
        await until(pilot, lambda: state(pilot) is State.FAILED)
        await until(pilot, lambda: "SIGKILL" in screen_text(pilot))
        await pilot.press("escape", "enter")
        await until(pilot, lambda: "The same by hand" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: state(pilot) is State.READY)


@pytest.mark.docker
async def test_the_docker_daemon_stops_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private_engine: PrivateEngine
) -> None:
    client = await asyncio.to_thread(private_engine.start)
    import_shell_image(client)
    monkeypatch.setenv("DOCKER_HOST", private_engine.url)
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    launch = Launches(SHELL_IMAGE)()
    runtime = DockerRuntime(settings)
    runtime.create(launch)
    runtime.start(launch.name)
    engine = Engine(settings)
    app = Console(lambda: engine)
    async with app.run_test(size=(120, 40)) as pilot:

        def found() -> bool:
            app.screen.query_one(ModelList).select(launch.name)  # among many profiles it may be out of sight
            return f"◐ {launch.name}" in screen_text(pilot)

        await until(pilot, found)
        await asyncio.to_thread(private_engine.stop)
        await until(pilot, lambda: "docker unreachable" in screen_text(pilot))
        await until(pilot, lambda: f"? {launch.name}" in screen_text(pilot))
        await until(pilot, lambda: "What is shown of" in screen_text(pilot))
        await asyncio.to_thread(private_engine.start)
        await until(pilot, lambda: f"◐ {launch.name}" in screen_text(pilot))
        assert "unreachable" not in screen_text(pilot)
    engine.close()
