"""The gaps between the pieces of an answer, on one line: a strip of them, and their quantiles."""

from collections.abc import Sequence
from itertools import pairwise

from rich.cells import cell_len
from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from tui.widgets.glyphs import sparkline, terminal_is_plain
from tui.widgets.prompt_status import seconds

LATEST = 5_000
"""So many of them count while the answer grows: a look at all would take longer and longer"""
LABEL = "gaps "
STEADY = 4.0
"""An even flow stands low: a gap so many times as long as the middle one reaches the top"""


class GapStrip(Widget):
    """The newest gap at the right while the answer grows, and the whole answer when it is there."""

    DEFAULT_CSS = "GapStrip { height: 1; padding: 0 1; background: $boost; color: $foreground-muted; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._values: Sequence[float] = ()
        self._growing = False
        self._plain = terminal_is_plain()

    def show(self, values: Sequence[float], *, growing: bool) -> None:
        """`values`: in their order, in seconds; the list may grow later."""
        if values or self._values:
            self._values, self._growing = values, growing
            self.refresh()

    def render(self) -> RenderResult:
        return Content(strip(self._values, self.size.width, growing=self._growing, plain=self._plain))


def strip(values: Sequence[float], width: int, *, growing: bool, plain: bool = False) -> str:
    """One line of at most `width` cells; empty without gaps."""
    latest = values[-LATEST:] if growing else values
    if not latest:
        return ""
    from engine.load.statistics import digest

    found, longest = digest(latest), max(latest)
    if not longest:
        return f"{LABEL}none: all {len(latest) + 1:,} pieces came at once"
    words = [f"p50 {seconds(found.p50)}"]
    if found.p99 is not None:
        words.append(f"p99 {seconds(found.p99)}")
    place = f", {latest.index(longest) + 1 + len(values) - len(latest)} of {len(values)}" if found.n > 1 else ""
    said = "  ".join([*words, f"longest {seconds(longest)}{place}"])
    room = width - cell_len(LABEL) - cell_len(said) - 2
    if room < 8:
        return f"{LABEL}{said}"
    shown = latest[-room:] if growing else squeezed(latest, room)
    top = max(*shown, STEADY * found.p50) if found.p50 else longest
    line = sparkline(shown, min(room, max(len(shown), 8)), top, plain=plain)
    return f"{LABEL}{line if growing else line.strip()}  {said}"


def squeezed(values: Sequence[float], cells: int) -> Sequence[float]:
    """At most so many values, each the longest of its share: a stall is never averaged away."""
    if len(values) <= cells:
        return values
    bounds = [len(values) * cell // cells for cell in range(cells + 1)]
    return [max(values[start:stop]) for start, stop in pairwise(bounds)]
