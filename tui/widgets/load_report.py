"""What a load test has measured: its levels as a table and as bars, what speaks against them, and all of each."""

from collections.abc import Iterator
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from engine.load.report import doubts
from engine.load_result import LoadResult
from engine.text import clean_line
from tui import format as fmt
from tui.widgets.glyphs import terminal_is_plain
from tui.widgets.load_inks import CLASSES, CSS, Inks, inks_of
from tui.widgets.load_offer import to_whom
from tui.widgets.load_table import failure_lines, level_bars, level_details, level_facts, level_table
from tui.widgets.load_words import DEFINITIONS, DOUBTS, OUTCOMES, what_is_sent
from tui.widgets.page import Page
from tui.widgets.state import NOTICE


class LoadReport(Page):
    class Left(Message):
        pass

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "define", "meanings", id="load.define", tooltip="What each figure of a load test means, and back"),
        Binding("S,ctrl+e", "save", "save", id="load.save", tooltip="Write a load test as json, csv, svg or html"),
        Binding(
            "escape", "leave_report", "back", id="load.leave", tooltip="From a load test back to where it was opened"
        ),
    ]
    COMPONENT_CLASSES = CLASSES
    DEFAULT_CSS = f"""
    LoadReport {{
        height: 1fr;
        {CSS}
        & > Static {{ height: auto; }}
    }}
    """

    class Saved(Message):
        """It is to be written to a file."""

        def __init__(self, result: LoadResult) -> None:
            super().__init__()
            self.result = result

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = terminal_is_plain()
        self._result: LoadResult | None = None
        self._defining = False
        self._drawn_at = 0

    def compose(self) -> ComposeResult:
        yield Static(id="load-report")

    def show(self, result: LoadResult) -> None:
        self._result, self._defining = result, False
        self._drawn_at = 0  # while it is hidden it has no width to be drawn in
        self.call_after_refresh(self._fit)
        self.scroll_home(animate=False)

    def _draw(self) -> None:
        width = self.scrollable_content_region.width
        if self._result and width > 0:
            self._drawn_at = width
            inks = inks_of(self)
            parts = _definitions(inks) if self._defining else self._parts(self._result, width, inks)
            self.query_one("#load-report", Static).update(Group(*parts))

    def _parts(self, result: LoadResult, width: int, inks: Inks) -> Iterator[RenderableType]:
        look = OUTCOMES[result.outcome]
        yield Text.assemble(
            f"{look.symbol} {look.word}  ",
            (
                f"{fmt.moment(result.began_at)}  {clean_line(result.model or result.deployment)}"
                f"{f' by {result.transport}' if result.transport else ''}",
                "bold",
            ),
        )
        if result.message:
            yield Text(f"{look.symbol} {clean_line(result.message)}", style=inks.failed)
        if not result.levels:
            yield Text(f"Nothing was measured of what was asked for: {what_is_sent(result.plan)}.", style=inks.muted)
            return
        table, *more = level_table(result.levels, width, inks)
        yield table
        for doubt in doubts(result):
            yield Text(f"{NOTICE} {doubt}", style=inks.doubt)
        for level in result.levels:
            for line in failure_lines(level.failures):
                yield Text(f"{line}", style=inks.failed)
        bars = level_bars(result.levels, width, inks, plain=self._plain)
        if bars:
            yield Text("")
            yield bars
        for table in more:
            yield Text("")
            yield table
        whom = to_whom(result.plan, None)
        yield Text(f"\n{what_is_sent(result.plan)}{', ' if whom else ''}{whom}.", style=inks.muted)
        for level in result.levels:
            yield Text("")
            yield level_details(level, width, inks)
            yield Text(level_facts(level), style=inks.muted)
        where = "  ".join(
            clean_line(part) for part in (result.what, result.machine and f"from {result.machine}") if part
        )
        yield Text(f"\n{where}", style=inks.muted)

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        if self.is_attached and self.scrollable_content_region.width != self._drawn_at:
            self._draw()

    def action_define(self) -> None:
        self._defining = not self._defining
        self._draw()
        self.scroll_home(animate=False)

    def action_save(self) -> None:
        if self._result:
            self.post_message(self.Saved(self._result))

    def action_leave_report(self) -> None:
        if self._defining:
            self.action_define()
        else:
            self.post_message(self.Left())


def _definitions(inks: Inks) -> Iterator[RenderableType]:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for word, meaning in DEFINITIONS:
        table.add_row(Text(word, style="bold"), meaning)
    for doubt, meaning in DOUBTS.items():
        table.add_row(Text(f"{NOTICE} {doubt.value}", style=inks.doubt), meaning)
    yield table
