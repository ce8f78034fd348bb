"""Who watches a server must not be what it waits for when it is told to stop."""

import time
from pathlib import Path

import pytest

from engine.deployment import State
from engine.facade import Engine
from engine.request import Action
from engine.settings import Settings
from tests.real.commands import needs_demo
from tests.real.performing import perform
from tests.real.triton_support import wait_until


@pytest.mark.triton
@needs_demo
def test_an_open_console_does_not_hold_up_triton_s_shutdown(tmp_path: Path) -> None:
    engine = Engine(Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path))
    states: list[State | None] = []

    def take(snapshot: object) -> None:
        model = engine._monitor.latest.model("demo")
        states.append(model.state if model else None)

    engine.open()
    engine.subscribe(take)
    try:
        perform(engine, Action.START, "demo")
        wait_until(lambda: State.READY in states or None, "the console to see it ready")
        wait_until(lambda: engine.metrics("demo").at, "the console to have scraped it")
        began = time.monotonic()
        perform(engine, Action.STOP, "demo")
        log = [line.text for line in engine.read_log("demo", tail=None, follow=False)]
        assert not [text for text in log if "service connections" in text], time.monotonic() - began
    finally:
        perform(engine, Action.REMOVE, "demo")
        engine.close()
