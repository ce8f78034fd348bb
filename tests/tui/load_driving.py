"""The pane `Load`, driven by keys, against an engine that the test holds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from textual.pilot import Pilot
from textual.widgets import Static

from engine.deployment import State
from engine.freshness import Freshness
from engine.load_result import LoadProgress, LoadResult
from engine.metrics_reading import MetricsReading
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome
from tests.tui.driving import on_main, opened, settled, shown, until
from tests.tui.fake_api import NOW, FakeApi, model
from tui.app import Console
from tui.screens.load_confirm import LoadConfirm

OTHER = model("mistral", State.READY, since=NOW - 50)


class IdleApi(FakeApi):
    """Nobody else asks anything."""

    export_lacks = 0
    """Requests that are not kept any more"""

    def metrics(self, name: str) -> MetricsReading:
        return MetricsReading(NOW, Freshness.FRESH)

    def export_load(self, result: LoadResult, path: Path) -> int:
        return super().export_load(result, path) + self.export_lacks


def under_way(kind: Action, target: str, outgoing: tuple[str, ...] = ()) -> OperationStatus:
    """An operation that has just begun."""
    return OperationStatus("1", kind, target, (), NOW - 1, Outcome.RUNNING, "ann@gpu-box-3, pid 7", outgoing=outgoing)


@asynccontextmanager
async def at(api: FakeApi, *keys: str, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[None]]:
    """The pane, open."""
    async with Console(lambda: api).run_test(size=size, notifications=True) as pilot:
        await opened(pilot)
        await pilot.press("4")
        await settled(pilot)
        await pilot.press(*keys)
        yield pilot


async def begin(pilot: Pilot[None], api: FakeApi) -> None:
    """From the form."""
    await pilot.press("enter")
    await until(pilot, lambda: isinstance(pilot.app.screen, LoadConfirm))
    await shown(pilot, "Begin")
    await pilot.press("y")
    await until(pilot, lambda: bool(api.loads_asked))
    await on_main(pilot)


async def tell(api: FakeApi, *events: LoadProgress | LoadResult) -> None:
    """As the engine does: from a thread of its own."""
    for event in events:
        await asyncio.to_thread(api.tell_load, event)


async def says(pilot: Pilot[None], part: str, sentence: str) -> None:
    """In a dialog, however its lines are wrapped."""
    await until(pilot, lambda: sentence in str(pilot.app.screen.query_one(f"#{part}", Static).content))


def field(pilot: Pilot[None], key: str, value: str) -> None:
    pilot.app.screen.query_one(f"#load-{key}").value = value  # type: ignore[attr-defined]
