"""Two load tests side by side: what has changed, and whether that is more than repeats of the same differ."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from engine.load_result import LoadChange, LoadResult
from engine.text import clean_line
from tui import format as fmt
from tui.widgets.glyphs import UNKNOWN, with_unit
from tui.widgets.ink import ink
from tui.widgets.load_words import doubts, loads
from tui.widgets.page import Page
from tui.widgets.state import NOTICE

BETTER, WORSE = "better", "worse"
NOISE_FROM_COLUMNS = 64
LEAST_TITLE, LEAST_VALUE, LEAST_CHANGE = 10, 8, 8


class LoadComparison(Page):
    class Left(Message):
        pass

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "b,escape", "leave_comparison", "list", id="load.leave_comparison", tooltip="Back to the earlier load tests"
        )
    ]
    COMPONENT_CLASSES = {"comparison--muted", "comparison--better", "comparison--worse"}
    DEFAULT_CSS = """
    LoadComparison {
        height: 1fr;
        & > Static { height: auto; }
        & > .comparison--muted { color: $text-muted; }
        & > .comparison--better { color: $text-success; }
        & > .comparison--worse { color: $text-warning; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._compared: tuple[LoadResult, LoadResult] | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="load-compared")

    def show(self, first: LoadResult, second: LoadResult) -> None:
        self._compared = (first, second)
        self.scroll_home(animate=False)
        self.call_after_refresh(self._draw)  # while it is hidden it has no width to be drawn in

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        if not self._compared or not self.is_attached:
            return
        from engine.load.compare import compare, differences

        first, second = self._compared
        parts = self._drawn(first, second, compare(first, second), differences(first, second))
        self.query_one("#load-compared", Static).update(Group(*parts))

    def _drawn(
        self, first: LoadResult, second: LoadResult, changes: Sequence[LoadChange], others: Sequence[str]
    ) -> Iterator[RenderableType]:
        muted, worse = ink(self, "comparison--muted"), ink(self, "comparison--worse")
        for letter, result in (("A", first), ("B", second)):
            of_it = ", ".join(doubt.value for doubt in doubts(result))
            yield Text.assemble(
                (f"{letter}  {fmt.moment(result.began_at)}  ", "bold"),
                loads(result.plan),
                (f"  {NOTICE} {of_it}" if of_it else "", worse),
            )
        for difference in others:
            yield Text(f"{NOTICE} {clean_line(difference)}", style=worse)
        if not changes:
            yield Text("They have no level of load in common: there is nothing to compare.", style=muted)
            return
        noisy = self.size.width >= NOISE_FROM_COLUMNS
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=LEAST_TITLE)
        for least in (LEAST_VALUE, LEAST_VALUE, LEAST_CHANGE, *([LEAST_CHANGE] if noisy else [])):
            table.add_column(justify="right", no_wrap=True, min_width=least)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for level, of_level in groupby(changes, lambda change: change.level):
            heads = [Text(head, style=muted) for head in ("A", "B", "change", *(["noise"] if noisy else []), "")]
            table.add_row(Text(level.words, style="bold"), *heads)
            for change in of_level:
                word = verdict(change)
                way = next((way for way in (BETTER, WORSE) if way == word), "muted")
                noise = UNKNOWN if change.noise is None else f"±{change.noise * 100:.1f} %"
                table.add_row(
                    f"  {change.title}",
                    with_unit(change.first, change.unit),
                    with_unit(change.second, change.unit),
                    UNKNOWN if change.change is None else f"{change.change * 100:+.1f} %",
                    *([noise] if noisy else []),
                    Text(word, style=ink(self, f"comparison--{way}")),
                )
        yield Text("")
        yield table
        if all(change.noise is None for change in changes):
            yield Text("\nThe noise is not known: it is from two repeats on.", style=muted)

    def action_leave_comparison(self) -> None:
        self.post_message(self.Left())


def verdict(change: LoadChange) -> str:
    """Whether it exceeds the noise, and if so whether that is good: of times less is, of rates more."""
    if change.change is None:
        return ""
    if change.beyond_noise is None:
        return "noise not known"
    if not change.beyond_noise:
        return "within noise"
    return BETTER if (change.change < 0) == (change.unit == "s") else WORSE
