"""The logs pane driven by keys, over a log that a test writes."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Footer, Static

from engine.api import Cancel
from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.freshness import Freshness
from engine.log_line import Level, LineKind, LogLine, LogMark
from engine.snapshot import Model, Snapshot
from tui.widgets.log_paint import GUTTER
from tui.widgets.log_view import LogView
from tui.widgets.logs_pane import LogsPane

SNAPSHOT = Snapshot(at=0.0, hostname="box", loading=False)
TIME = "2025-11-20T23:44:48.551677000Z"


class FakeFeed:
    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.kept: list[str | LogLine] = []
        self.marks: list[LogMark] = []
        self.first = 0
        self.freshness = Freshness.FRESH
        self.message = ""
        self.closed = False

    @property
    def end(self) -> int:
        return self.first + len(self.kept)

    def line(self, seq: int) -> LogLine:
        return self.lines(seq, seq + 1)[0]

    def lines(self, start: int, stop: int) -> list[LogLine]:
        return [self._line(seq) for seq in range(max(start, self.first), min(stop, self.end))]

    def _line(self, seq: int) -> LogLine:
        kept = self.kept[seq - self.first]
        return replace(kept, seq=seq) if isinstance(kept, LogLine) else LogLine(seq, TIME, kept)

    def close(self) -> None:
        self.closed = True

    def add(self, *lines: str | LogLine) -> None:
        self.kept += lines
        self.changed()

    def drop(self, count: int) -> None:
        del self.kept[:count]
        self.first += count
        self.changed()


class FakeApi:
    """Only what a log needs; asking for anything else fails the test."""

    def __init__(self) -> None:
        self.feeds: dict[str, FakeFeed] = {}
        self.opened: list[str] = []

    def open_log(self, name: str, changed: Callable[[], None], *, tail: int | None = None) -> FakeFeed:
        self.opened.append(name)
        self.feeds[name] = FakeFeed(changed)
        return self.feeds[name]

    def refuse(self, *_: object, **__: object) -> Cancel:
        raise AssertionError("the logs pane only reads logs")

    open = close = subscribe = plan = submit = metrics = ask = refuse


class Console(App[None]):
    def __init__(self, api: FakeApi) -> None:
        super().__init__()
        self.pane = LogsPane(api)  # type: ignore[arg-type]

    def compose(self) -> ComposeResult:
        yield self.pane
        yield Footer()


class Screen:
    """What an operator sees of the pane, and does to it."""

    def __init__(self, app: Console, pilot: Pilot[None], api: FakeApi) -> None:
        self.app, self.pilot, self.api = app, pilot, api
        self.pane = app.pane
        self.view = app.query_one(LogView)

    @property
    def feed(self) -> FakeFeed:
        return self.api.feeds["qwen"]

    @property
    def rows(self) -> list[str]:
        """Without the two cells for the level and for what marks a row, and what stands for a gap in words only."""
        return [row.strip("╌ ") if row.startswith("╌") else row[GUTTER:] for row in self.whole_rows]

    @property
    def whole_rows(self) -> list[str]:
        return [self.view.render_line(y).text.rstrip() for y in range(self.view.size.height)]

    @property
    def status(self) -> str:
        return str(self.app.query_one("#logs-status", Static).content)

    @property
    def trouble(self) -> str:
        line = self.app.query_one("#logs-trouble", Static)
        return str(line.content) if line.display else ""

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, f"it did not happen in time\n{self.status}\n" + "\n".join(self.rows)
            await self.pilot.pause(0.005)

    async def add(self, *lines: str | LogLine) -> None:
        self.feed.add(*lines)
        await self.pilot.pause()
        await self.pilot.pause()


def model(name: str = "qwen", *, deployed: bool = True) -> Model:
    service = Service(Protocol.OPENAI, "http://127.0.0.1:8000", "http://127.0.0.1:8000/health")
    deployment = Deployment(name, "docker", "vllm", "1", "image", Lifecycle.RUNNING, service, 0.0) if deployed else None
    return Model(name, State.READY if deployed else State.ABSENT, deployment=deployment)


@asynccontextmanager
async def console(size: tuple[int, int] = (80, 24), lines: int = 0) -> AsyncIterator[Screen]:
    api = FakeApi()
    app = Console(api)
    async with app.run_test(size=size) as pilot:
        screen = Screen(app, pilot, api)
        screen.pane.show_model(model(), SNAPSHOT)
        screen.view.focus()
        await screen.add(*(f"line {number}" for number in range(lines)))
        yield screen


def at(text: str, level: Level | None = None, kind: LineKind = LineKind.PLAIN, **more: Any) -> LogLine:
    """Its number is given to it by the feed."""
    return LogLine(0, TIME, text, level=level, kind=kind, **more)


def traceback(frames: int, raised: str = "ValueError: no") -> list[LogLine]:
    frame = [at(f'  File "a.py", line {number}, in call', kind=LineKind.FRAME) for number in range(frames)]
    return [at("Traceback (most recent call last):", kind=LineKind.TRACEBACK), *frame, at(raised, Level.ERROR)]
