"""What changes on the main screen while something is in front of it: that alone is painted."""

from dataclasses import replace

import pytest
from rich.console import RenderableType
from textual._compositor import ChopsUpdate
from textual.app import App
from textual.screen import Screen

from engine.snapshot import Snapshot
from tests.tui.driving import MODELS, opened, settled, still, until
from tests.tui.fake_api import FakeApi, snapshot
from tui.app import Console
from tui.screens.main import MainScreen

A_FEW_LINES = 1000
"""Characters, with those that set colours; the whole screen is many thousands"""


def _loaded(percent: float) -> Snapshot:
    now = snapshot(*MODELS)
    assert now.gpus
    first, *others = now.gpus.gpus
    return replace(now, gpus=replace(now.gpus, gpus=(replace(first, utilization=percent), *others)))


@pytest.mark.parametrize("key", ["x", "question_mark", "H", "D"])
async def test_behind_a_dialog_only_what_changed_is_painted(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[str] = []
    display = App._display

    def spy(app: App[None], screen: Screen[object], shown: RenderableType | None) -> None:
        if shown is not None:
            painted.append(shown.render_segments(app.console) if isinstance(shown, ChopsUpdate) else "all of it")
        display(app, screen, shown)

    api = FakeApi(_loaded(10.0))
    async with Console(lambda: api).run_test(size=(120, 40)) as pilot:
        await opened(pilot)
        await settled(pilot)
        await pilot.press(key)
        await until(pilot, lambda: not isinstance(pilot.app.screen, MainScreen))
        api.show(_loaded(20.0))
        await still(pilot)
        monkeypatch.setattr(App, "_display", spy)
        for percent in (73, 64):
            api.show(_loaded(float(percent)))
            await until(pilot, lambda: bool(painted))
            update = painted.pop()
            assert update != "all of it"
            assert len(update) < A_FEW_LINES
            if key == "x":  # beside which the GPUs are in sight
                assert f"{percent} %" in update
