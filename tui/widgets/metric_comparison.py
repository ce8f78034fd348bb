"""Before and after a swap or a start anew, side by side."""

import re
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from engine.metrics_reading import Bound, Compared, Comparison
from tui import format as fmt
from tui.widgets.glyphs import UNKNOWN, with_unit
from tui.widgets.ink import ink
from tui.widgets.page import Page

SAME_PERCENT = 2.0
"""A smaller change is none"""
MANY_TIMES = 10
LITTLE_S = 60.0
"""What was measured for a shorter time says little"""
LOWER_IS_BETTER = ("fail", "preempt", "waiting", "pending", "queue")
HIGHER_IS_BETTER = ("hits", "hit_rate", "accept")
BETTER, WORSE = "better", "worse"
_VANISHES = re.compile(r"-?0\.00\b")


class ComparisonPage(Page):
    """Has the place of the values and charts while it is looked at."""

    class Closed(Message):
        pass

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("b,escape", "close", "values", id="metrics.values", tooltip="From before and after to the values")
    ]
    COMPONENT_CLASSES = {"comparison--muted", "comparison--better", "comparison--worse"}
    DEFAULT_CSS = """
    ComparisonPage {
        height: 1fr;
        & > Static { height: auto; }
        & > .comparison--muted { color: $text-muted; }
        & > .comparison--better { color: $text-success; }
        & > .comparison--worse { color: $text-warning; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="comparison-text")

    def show(self, comparison: Comparison, name: str) -> None:
        """`name`: of the deployment that serves now."""
        self.query_one("#comparison-text", Static).update(self._drawn(comparison, name))

    def _drawn(self, comparison: Comparison, name: str) -> RenderableType:
        muted = ink(self, "comparison--muted")
        looks = {word: ink(self, f"comparison--{word}") for word in (BETTER, WORSE)}
        anew = comparison.before == name
        before, after = ("before", "after") if anew else (comparison.before, name)
        measured = (
            f"{_measured(comparison.seconds_before, 'before')} and {_measured(comparison.seconds_after, 'after')}"
        )
        head = Text.assemble(
            (comparison.mark.text, "bold"), f" at {fmt.clock(comparison.mark.at)}", (f"   means over {measured}", muted)
        )
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis")
        for _ in range(2):
            table.add_column(justify="right", no_wrap=True, overflow="ellipsis")
        table.add_column(no_wrap=True)
        table.add_row(*(Text(text, style=muted) for text in ("", before, after, "change")))
        for row in comparison.rows:
            change, word = changed(row)
            told = Text(f"{change} {word}".strip(), style=looks.get(word, Style() if word else muted))
            first, second = written(row.before, row.unit), written(row.after, row.unit)
            table.add_row(row.title, f"{row.before_bound}{first}", f"{row.after_bound}{second}", told)
        little = min(comparison.seconds_before, comparison.seconds_after) < LITTLE_S
        hint = Text("Less than a minute was measured on one side: that says little yet.", style=looks[WORSE])
        return Group(head, *([hint] if little else []), Text(""), table)

    def action_close(self) -> None:
        self.post_message(self.Closed())


def changed(row: Compared) -> tuple[str, str]:
    """By how much, and in a word whether that is good, where anybody can tell; empty where there is nothing to say."""
    if row.before is None or row.after is None:
        return UNKNOWN, ""
    alike = written(row.before, row.unit) == written(row.after, row.unit)
    bounds, at_least = (row.before_bound, row.after_bound), ""
    if any(bounds):
        higher, lower = bounds if row.before > row.after else bounds[::-1]
        if alike or higher is Bound.BELOW or lower is Bound.ABOVE:  # it may be nothing, or the other way round
            return UNKNOWN, ""
        at_least = "at least "
    elif alike:
        return "", "same"
    word = _word(row, up=row.after > row.before)
    if written(row.before, row.unit) == written(0.0, row.unit):
        return "from 0", word
    percent = (row.after - row.before) / abs(row.before) * 100
    if abs(percent) < SAME_PERCENT:
        return f"{at_least}{percent:+.1f} %", word if at_least else "same"
    return f"{at_least}{_amount(row.before, row.after, percent)}", word


def _amount(before: float, after: float, percent: float) -> str:
    """In times where it is ten times as much or as little: what is not 0 has not fallen by 100 %."""
    times = after / before
    if times >= MANY_TIMES:
        return f"×{times:.0f}"
    if 0 < times <= 1 / MANY_TIMES:
        return f"÷{1 / times:.0f}"
    return f"{percent:+.1f} %" if abs(percent) < 10 else f"{percent:+.0f} %"


def written(value: float | None, unit: str) -> str:
    """A mean that would be written as 0.00 is 0: what is not seen is no change either."""
    return with_unit(0.0 if value is not None and _VANISHES.match(with_unit(value, unit)) else value, unit)


def _word(row: Compared, *, up: bool) -> str:
    if any(part in row.key for part in HIGHER_IS_BETTER):
        return BETTER if up else WORSE
    if row.unit == "s" or any(part in row.key for part in LOWER_IS_BETTER):
        return WORSE if up else BETTER
    return "more" if up else "less"


def _measured(seconds: float, side: str) -> str:
    return f"{fmt.duration(seconds)} {side}" if seconds > 0 else f"nothing {side}"
