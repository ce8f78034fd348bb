"""One metric over time."""

import asyncio
import math
from bisect import bisect_left, bisect_right
from itertools import zip_longest

from rich.cells import set_cell_size
from rich.segment import Segment
from textual.events import Resize
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from engine.metrics_reading import Series
from tui.widgets.glyphs import terminal_is_plain, with_unit
from tui.widgets.plotting import Drawing, Plot, draw

AXIS_ROWS = 2
STEPS_PER_COLUMN = 2
"""Braille has two columns of dots in a cell"""

Row = tuple[tuple[str, str], ...]
"""Pieces of text, each with the name of its component class"""


class Chart(Widget):
    """A title with the current value, and the curve below.

    The curve is drawn off the event loop, and anew only when it would move by a dot; only changed rows are painted.
    """

    COMPONENT_CLASSES = {"chart--title", "chart--dim", "chart--curve"}
    DEFAULT_CSS = """
    Chart {
        height: 1fr;
        width: 1fr;
        & > .chart--title { color: $foreground; text-style: bold; }
        & > .chart--dim { color: $text-muted; }
        & > .chart--curve { color: $secondary; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = terminal_is_plain()
        self._series: Series | None = None
        self._window_s = 60.0
        self._now = 0.0
        self._plot: Plot | None = None
        """What was asked for last"""
        self._drawing: Drawing | None = None
        self._rows: list[Row] = []

    def show(self, series: Series, window_s: float, now: float) -> None:
        """Draws the last `window_s` seconds before `now` (seconds since the epoch)."""
        self._series, self._window_s, self._now = series, window_s, now
        self._update()

    def on_resize(self, _: Resize) -> None:
        self._update()

    def render_line(self, y: int) -> Strip:
        row = self._rows[y] if y < len(self._rows) else ()
        strip = Strip([Segment(text, self.get_component_rich_style(f"chart--{look}")) for text, look in row])
        return strip.adjust_cell_length(self.size.width, self.rich_style)

    def _update(self) -> None:
        series, size = self._series, self.size
        if series is None or not size:
            return
        step = self._window_s / (size.width * STEPS_PER_COLUMN)
        end = math.floor(self._now / step) * step
        first, stop = bisect_left(series.times, end - self._window_s), bisect_right(series.times, end)
        plot = Plot(
            times=series.times[first:stop],
            values=series.values[first:stop],
            unit=series.unit,
            window_s=self._window_s,
            end=end,
            width=size.width,
            height=size.height - 1,
            plain=self._plain,
        )
        if plot == self._plot:
            self._paint(series)
        else:
            self._plot = plot
            self.run_worker(self._redraw(plot, series), exclusive=True)

    async def _redraw(self, plot: Plot, series: Series) -> None:
        self._drawing = await asyncio.to_thread(draw, plot)
        self._paint(series)

    def _paint(self, series: Series) -> None:
        size, before = self.size, self._rows
        self._rows = [_title(series, self._drawing, size.width), *self._curve_rows(size.width, size.height)]
        changed = [
            Region(0, y, size.width, 1)
            for y, (old, new) in enumerate(zip_longest(before, self._rows, fillvalue=()))
            if old != new
        ]
        if changed:
            self.refresh(*changed)

    def _curve_rows(self, width: int, height: int) -> list[Row]:
        drawing = self._drawing
        if drawing is None:
            nothing = f"no values in the last {round(self._window_s / 60)} min"
            return [*[()] * ((height - 2) // 2), ((nothing.center(width), "dim"),)]
        last = len(drawing.rows) - AXIS_ROWS
        return [
            ((row[: drawing.margin], "dim"), (row[drawing.margin :], "curve")) if y < last else ((row, "dim"),)
            for y, row in enumerate(drawing.rows)
        ]


def _title(series: Series, drawing: Drawing | None, width: int) -> Row:
    value = f"{with_unit(series.value, series.unit)} "
    name = set_cell_size(f" {series.title}", min(len(series.title) + 1, max(0, width - len(value))))
    unit = set_cell_size(f"  {drawing.unit if drawing else ''}", max(0, width - len(name) - len(value)))
    return ((name, "title"), (unit, "dim"), (value, "title"))
