"""One metric over time."""

import asyncio
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.segment import Segment
from textual import work
from textual.events import Resize
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.metrics_reading import Mark, Series
from tui.widgets.glyphs import cut, terminal_is_plain
from tui.widgets.metric_rows import MetricRow
from tui.widgets.plotting import DOTS_PER_COLUMN, Curve, Drawing, Plot, Row, draw, has_room

LEAST_TITLE = 8


class Chart(Widget):
    """A title with the current value, and the curve below; of the quantiles of one idea a curve each.

    The curves are drawn off the event loop, and anew only when they would move by a dot; only changed rows are painted.
    """

    COMPONENT_CLASSES = {"chart--title", "chart--dim", "chart--curve", "chart--mark"}
    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        width: 1fr;
        & > .chart--title { color: $foreground; text-style: bold; }
        & > .chart--dim { color: $text-muted; }
        & > .chart--curve { color: $secondary; }
        & > .chart--mark { color: $text-warning; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = terminal_is_plain()
        self._metric: MetricRow | None = None
        self._window_s = 60.0
        self._now = 0.0
        self._marks: tuple[Mark, ...] = ()
        self._most: float | None = None
        self._remedy = ""
        self._plot: Plot | None = None
        """What was asked for last"""
        self._drawing: Drawing | None = None
        self._rows: list[Row] = []

    def show(
        self,
        metric: MetricRow,
        window_s: float,
        now: float,
        marks: Sequence[Mark] = (),
        most: float | None = None,
        remedy: str = "",
    ) -> None:
        """Draws the last `window_s` seconds before `now` (seconds since the epoch), up to the `most` that there can be,
        where that is given. `remedy`: what gives it more room, in a word or two."""
        self._metric, self._window_s, self._now, self._marks, self._most = metric, window_s, now, tuple(marks), most
        self._remedy = remedy
        self._update()

    def on_resize(self, _: Resize) -> None:
        self._update()

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else ()
        strip = Strip([Segment(text, self.get_component_rich_style(f"chart--{look}")) for text, look in row])
        return strip.adjust_cell_length(self.size.width, self.rich_style)

    def _update(self) -> None:
        metric, size = self._metric, self.size
        if metric is None or not size:
            return
        step = self._window_s / (size.width * DOTS_PER_COLUMN)
        end = math.floor(self._now / step) * step
        plot = Plot(
            curves=tuple(_within(series, end - self._window_s, end) for series in metric.series),
            unit=metric.series[0].unit,
            window_s=self._window_s,
            end=end,
            width=size.width,
            height=size.height - 1,
            marks=tuple((mark.at, mark.text) for mark in self._marks),
            plain=self._plain,
            most=self._most,
        )
        if plot == self._plot:
            self._paint(metric)
        else:
            self._plot = plot
            self._redraw(plot, metric)

    @work(exclusive=True, description="draws")  # else all arguments are written out, each time
    async def _redraw(self, plot: Plot, metric: MetricRow) -> None:
        self._drawing = await asyncio.to_thread(draw, plot)
        if self.is_attached:  # its screen may have been left meanwhile
            self._paint(metric)

    def _paint(self, metric: MetricRow) -> None:
        size, before = self.size, self._rows
        self._rows = [_title(metric, self._drawing, size.width), *self._curve_rows(size.width, size.height)]
        changed = [
            Region(0, y, size.width, 1)
            for y, (old, new) in enumerate(zip_longest(before, self._rows, fillvalue=()))
            if old != new
        ]
        if changed:
            self.refresh(*changed)

    def _curve_rows(self, width: int, height: int) -> list[Row]:
        if self._drawing is not None:
            return list(self._drawing.rows)
        small = self._plot is not None and not has_room(self._plot)
        nothing = f"no values in the last {round(self._window_s / 60)} min"
        if small:
            nothing = "no room for a chart" + (f": {self._remedy}" if self._remedy else "")
        return [*[()] * ((height - 2) // 2), ((nothing.center(width), "dim"),)]


def _within(series: Series, start: float, end: float) -> Curve:
    first, stop = bisect_left(series.times, start), bisect_right(series.times, end)
    return Curve(series.times[first:stop], series.values[first:stop])


def _title(metric: MetricRow, drawing: Drawing | None, width: int) -> Row:
    """The name, what its axis counts, and at the right what it is now."""
    value = cut(f"{metric.value} ", max(0, min(cell_len(metric.value) + 1, width - LEAST_TITLE)))
    room = max(0, width - cell_len(value))
    name = cut(f" {metric.name}", min(cell_len(metric.name) + 1, room))
    counts = "  ".join(part for part in (drawing.unit if drawing else "", metric.quantiles) if part)
    rest = max(0, room - cell_len(name))
    unit = cut(f"  {counts}", rest) if cell_len(counts) + 3 <= rest else " " * rest
    return ((name, "title"), (unit, "dim"), (value, "title"))
