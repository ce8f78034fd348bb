"""The list of metrics: a line each, with the cursor that the charts follow."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import format as fmt
from tui.widgets.glyphs import cut, terminal_is_plain
from tui.widgets.ink import ink
from tui.widgets.metric_rows import Heading, Line, MetricRow
from tui.widgets.sparks import CELLS, spark, step

MOST_TITLE, LEAST_TITLE = 28, 12
VALUE, QUANTILES = 12, 22
BESIDE = 6
"""Cells for the cursor, the mark, the scrollbar and between them"""
CHARTED = "▪"
PLAIN_CHARTED = "*"


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a line says; it is painted again when that changes."""

    title: str
    value: str
    mark: str = ""
    spark: str = ""
    heading: bool = False
    stale: bool = False


class MetricTable(ScrollView, can_focus=True):
    class Moved(Message):
        """The cursor is on another metric."""

    class Picked(Message):
        """Enter or a double click."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "pick", "chart", id="metrics.chart", tooltip="Keep the metric among the charts, or not"),
        Binding("down,j", "move(1)", "down", show=False, id="metrics.down", tooltip="Go to the next metric"),
        Binding("up,k", "move(-1)", "up", show=False, id="metrics.up", tooltip="Go to the previous metric"),
        Binding("pagedown", "page(1)", "page down", show=False, tooltip="Go down by a page"),
        Binding("pageup", "page(-1)", "page up", show=False, tooltip="Go up by a page"),
        Binding("home,g", "move(-100000)", "first", show=False, tooltip="Go to the first metric"),
        Binding("end,G", "move(100000)", "last", show=False, tooltip="Go to the last metric"),
    ]
    COMPONENT_CLASSES = {"metrics--title", "metrics--heading", "metrics--dim", "metrics--spark", "metrics--cursor"}
    DEFAULT_CSS = """
    MetricTable {
        overflow-x: hidden; scrollbar-size-vertical: 1; background: transparent;
        & > .metrics--title { color: $foreground; }
        & > .metrics--heading { color: $text-muted; text-style: bold; }
        & > .metrics--dim { color: $text-muted; }
        & > .metrics--spark { color: $secondary; }
        & > .metrics--cursor { background: $panel; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = terminal_is_plain()
        self._lines: Sequence[Line] = ()
        self._cursor = 0
        self._shown: list[_Shown] = []
        self._title_width = LEAST_TITLE
        self._value_width = VALUE
        self._sparks_s = 0.0
        """What the sparklines reach back; 0 for none"""
        self._cell = (0.0, 0)
        """Length of a cell, and the step at which the lines were drawn"""
        self._drawn: dict[str, str] = {}

    @property
    def row(self) -> MetricRow | None:
        """The one under the cursor."""
        line = self._lines[self._cursor] if self._cursor < len(self._lines) else None
        return line if isinstance(line, MetricRow) else None

    @property
    def rows(self) -> list[MetricRow]:
        return [line for line in self._lines if isinstance(line, MetricRow)]

    def show(
        self, lines: Sequence[Line], charted: Collection[str], *, most_title: int, sparks_s: float, stale: bool
    ) -> None:
        """Only lines that changed are painted; the cursor stays on its metric."""
        before = self.row
        self._lines = lines
        widths = title_width(lines, most_title), value_width(lines), bool(sparks_s)
        if widths != (self._title_width, self._value_width, bool(self._sparks_s)):
            self._title_width, self._value_width, _ = widths
            self.refresh()
        self._sparks_s = sparks_s
        self._cursor = self._place(before.key if before else None)
        shown = [self._say(line, charted, stale=stale) for line in lines]
        if len(shown) != len(self._shown):
            self.virtual_size = Size(self.size.width, max(1, len(shown)))
            self.refresh()
        else:
            for y, (new, old) in enumerate(zip(shown, self._shown, strict=True)):
                if new != old:
                    self._refresh_line(y)
        self._shown = shown
        if before is None or self.row is None or before.key != self.row.key:
            self.refresh()
            self.post_message(self.Moved())

    def _place(self, key: str | None) -> int:
        rows = [y for y, line in enumerate(self._lines) if isinstance(line, MetricRow)]
        same = next((y for y, line in enumerate(self._lines) if isinstance(line, MetricRow) and line.key == key), None)
        if same is not None:
            return same
        return min(rows, key=lambda y: abs(y - self._cursor)) if rows else 0

    def _say(self, line: Line, charted: Collection[str], *, stale: bool) -> _Shown:
        title = f"{'  ' * line.depth}{line.title}"
        if isinstance(line, Heading):
            return _Shown(title, line.note, heading=True)
        mark = (PLAIN_CHARTED if self._plain else CHARTED) if line.key in charted else ""
        drawn = ""
        if self._sparks_s:
            drawn = self._spark(line)
        return _Shown(title, line.value, mark, drawn, stale=stale)

    def _spark(self, row: MetricRow) -> str:
        """Made anew only when it moves."""
        now, cell_s = fmt.now(), self._sparks_s / CELLS
        cell = cell_s, math.floor(now / step(cell_s))
        if cell != self._cell:
            self._cell, self._drawn = cell, {}
        if row.key not in self._drawn:
            self._drawn[row.key] = spark(row.series[0], cell_s, now, plain=self._plain)
        return self._drawn[row.key]

    def begin_anew(self) -> None:
        """With another deployment's metrics."""
        self._cell, self._drawn = (0.0, 0), {}

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        base = self.rich_style
        if index >= len(self._shown):
            return Strip.blank(width, base)
        line = self._shown[index]
        on_cursor = index == self._cursor
        if on_cursor:
            base += self.get_component_rich_style("metrics--cursor", partial=True)
        dim, plain = base + ink(self, "metrics--dim"), base + ink(self, "metrics--title")
        spark = base + ink(self, "metrics--spark")
        title = base + ink(self, "metrics--heading") if line.heading else dim if line.stale else plain
        value = dim if line.heading or line.stale else plain
        room = max(self._value_width, width - self._title_width - 5 - (CELLS + 1 if self._sparks_s else 0))
        parts = [
            ("▌" if on_cursor and not self._plain else ">" if on_cursor else " ", plain if self.has_focus else dim),
            (set_cell_size(line.mark, 2 if not line.heading else 0), spark),
            (cut(line.title, self._title_width + (2 if line.heading else 0)) + " ", title),
            (_right(line.value, room), value),
        ]
        if self._sparks_s:
            parts.append((" " + set_cell_size(line.spark, CELLS), dim if line.stale else spark))
        return Strip([Segment(text, style) for text, style in parts]).adjust_cell_length(width, base)

    def _refresh_line(self, index: int) -> None:
        self.refresh(Region(0, index - self.scroll_offset.y, self.size.width, 1))

    def action_pick(self) -> None:
        if self.row:
            self.post_message(self.Picked())

    def action_page(self, direction: int) -> None:
        self.action_move(direction * max(1, self.size.height - 1))

    def action_move(self, by: int) -> None:
        rows = [y for y, line in enumerate(self._lines) if isinstance(line, MetricRow)]
        if rows:
            at = rows.index(self._cursor) if self._cursor in rows else 0
            self._move_to(rows[max(0, min(at + by, len(rows) - 1))])

    def _move_to(self, index: int) -> None:
        if index == self._cursor:
            return
        old, self._cursor = self._cursor, index
        above = index - 1 if index and isinstance(self._lines[index - 1], Heading) else index
        self.scroll_to_region(Region(0, above, 1, index - above + 1), animate=False, force=True)
        self._refresh_line(old)
        self._refresh_line(index)
        self.post_message(self.Moved())

    def on_click(self, event: events.Click) -> None:
        index = event.get_content_offset_capture(self).y + self.scroll_offset.y
        if 0 <= index < len(self._lines) and isinstance(self._lines[index], MetricRow):
            self._move_to(index)
            if event.chain == 2:
                self.action_pick()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, max(1, len(self._lines)))

    def on_focus(self) -> None:
        self._refresh_line(self._cursor)

    def on_blur(self) -> None:
        self._refresh_line(self._cursor)


def title_width(lines: Sequence[Line], most: int) -> int:
    titles = [cell_len(line.title) + 2 * line.depth for line in lines if isinstance(line, MetricRow)]
    return max(LEAST_TITLE, min(most, max(titles, default=0)))


def value_width(lines: Sequence[Line]) -> int:
    """Not of the values as they are now: the view must not jump with them."""
    return QUANTILES if any(len(line.series) > 1 for line in lines if isinstance(line, MetricRow)) else VALUE


def _right(text: str, width: int) -> str:
    return cut(text, width) if cell_len(text) >= width else " " * (width - cell_len(text)) + text
