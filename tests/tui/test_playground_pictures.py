"""What the playground looks like in the console."""

from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from engine.deployment import State
from engine.inference.prompt import PromptOutcome, PromptRequest, PromptResult, Sampling, Timing, Transport
from engine.prompt_record import KeptPrompt
from tests.tui.driving import opened, settled, shown, still
from tests.tui.fake_api import NOW, FakeApi, model, snapshot
from tui import format as write
from tui.app import Console

EARLIER = PromptResult(
    PromptRequest("How fast is it?", sampling=Sampling(temperature=0.2)),
    PromptOutcome.DONE,
    "It was **twice** as slow.",
    "prose",
    Transport.OPENAI,
    "stop",
    timing=Timing(0.001, 0.3, 0.31, 2.0, 2.01, 20, 90, "server"),
    gaps_s=(0.01,) * 40 + (0.4,) + (0.01,) * 60,
)
PICTURES = {
    "chat": ([*"hi", "enter"], "Hello, world."),
    "options": (["ctrl+o"], "max_model_len"),
    "history": ([*"hi", "enter", "ctrl+r", "down"], "It was **twice**"),
    "compare": ([*"hi", "enter", "ctrl+r", "space", "down", "c"], "Side by side"),
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    monkeypatch.setattr(write, "now", lambda: NOW)
    fake = FakeApi(snapshot(model("llama3-70b", State.READY, since=NOW - 131), model("mixtral", State.READY)))
    fake.kept = [KeptPrompt(1, NOW - 9000, "llama3-70b", "earlier", "vllm/vllm-openai:v0.10.0", EARLIER)]
    return fake


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures(snap_compare: Callable[..., bool], api: FakeApi, size: tuple[int, int], name: str) -> None:
    """To be looked at and then renewed with --snapshot-update when the look was changed on purpose."""
    keys, awaited = PICTURES[name]

    async def prepare(pilot: Pilot[None]) -> None:
        await opened(pilot)
        await pilot.press("z", "3")
        await settled(pilot)
        await shown(pilot, "new conversation")
        await still(pilot)
        for key in keys:
            await pilot.press(key)
            if key in ("enter", "ctrl+r"):
                await still(pilot)
        await shown(pilot, awaited)
        await still(pilot)

    assert snap_compare(Console(lambda: api), run_before=prepare, terminal_size=size)
