"""`escape` in the playground: what it cancels, and when it leaves."""

import pytest

from engine.inference.prompt import PromptOutcome
from tests.tui.test_playground_pane import Harness, send, until
from tui.widgets import playground_pane


async def test_escape_cancels_a_running_prompt_and_otherwise_leaves() -> None:
    app = Harness()
    async with app.run_test() as pilot:
        app.select("llama")
        played = await send(pilot, app, "hi")
        played.say("so far")
        await pilot.press("escape", "escape")
        assert played.cancels == 1
        assert app.focused is app.editor
        assert "cancelling" in app.status
        played.end(PromptOutcome.CANCELLED, reason="")
        await until(pilot, lambda: "cancelled" in app.status)
        assert app.answer == "hiso far"
        await pilot.press("escape")
        assert app.focused is app.editor  # it is left to the screen, which goes back to the list


async def test_an_escape_that_comes_late_does_nothing_and_the_next_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer ends by itself a moment before it would have been cancelled."""
    app = Harness()
    monkeypatch.setattr(playground_pane, "LATE_S", 60.0)
    async with app.run_test() as pilot:
        app.select("llama")
        (await send(pilot, app, "hi")).end()
        await until(pilot, lambda: "done" in app.status)
        await pilot.press("escape")
        assert app.escapes == 0
        monkeypatch.setattr(playground_pane, "LATE_S", 0.0)
        await pilot.press("escape")
        assert app.escapes == 1
        monkeypatch.setattr(playground_pane, "LATE_S", 60.0)
        played = await send(pilot, app, "again")
        await pilot.press("escape")
        assert played.cancels == 1  # what is under way is cancelled at once
        played.end(PromptOutcome.CANCELLED, reason="")
        await until(pilot, lambda: "cancelled" in app.status)
        await pilot.press("escape", "escape")
        assert app.escapes == 1
