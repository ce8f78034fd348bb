"""One series as lines of text, drawn by plotext. Blocks for a few milliseconds: call it off the event loop."""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from tui.widgets.glyphs import scale_for

LONGEST_STEP_S = 60.0
"""Points further apart than this are not joined"""
_TICK_EVERY_COLUMNS = 18
_TICK_EVERY_ROWS = 4
_BOX_TO_ASCII = str.maketrans("┤│└┬─", "||++-")

# plotext has one figure per process.
_plotext = threading.Lock()


@dataclass(frozen=True, slots=True)
class Plot:
    """What to draw, in `width` by `height` cells: values over times (seconds), all from `end - window_s` to `end`."""

    times: tuple[float, ...]
    values: tuple[float | None, ...]
    unit: str
    window_s: float
    end: float
    width: int
    height: int
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    rows: tuple[str, ...]
    """The last two are the time axis"""
    margin: int
    """Cells of each row that belong to the value axis"""
    unit: str
    """What the value axis counts"""


def draw(plot: Plot) -> Drawing | None:
    """None when there is nothing to draw in the window, or no room."""
    runs = list(_runs(plot))
    if not runs or plot.width < 12 or plot.height < 4:
        return None
    divisor, unit = scale_for(max(value for run in runs for _, value in run), plot.unit)
    parts = 4 if plot.height >= 4 * _TICK_EVERY_ROWS else 2
    top = _ceiling(max(value for run in runs for _, value in run) / divisor, unit, parts)
    bottom = min(0.0, *(value / divisor for run in runs for _, value in run))
    with _plotext:
        import plotext

        plotext.terminal.limit(width=False, height=False)
        figure = plotext.figure
        figure.clear.all()
        figure.theme("colorless")
        figure.plot_size(plot.width, plot.height)
        figure.legend(active=False)
        figure.axes(active=False, axis=0, side=1)
        figure.axes(active=False, axis=1, side=1)
        across, up = figure.ruler(0, 0), figure.ruler(1, 0)
        across.lim(-plot.window_s, 0)
        across.ticks(*_time_ticks(plot.window_s, plot.width))
        up.lim(bottom, top)
        up.ticks(*_value_ticks(bottom, top, parts))
        for run in runs:
            x = [at - plot.end for at, _ in run]
            y = [value / divisor for _, value in run]
            figure.draw(figure.signal(x, y, marker="*" if plot.plain else "braille").lines(len(run) > 1))
        text: str = figure.build().string(colorless=True)
    rows = tuple(row.ljust(plot.width) for row in text.rstrip("\n").split("\n"))
    margin = max((row.find(mark) + 1 for row in rows for mark in "┤│" if mark in row), default=0)
    return Drawing(tuple(row.translate(_BOX_TO_ASCII) for row in rows) if plot.plain else rows, margin, unit)


def _runs(plot: Plot) -> Iterator[list[tuple[float, float]]]:
    """Stretches without a gap."""
    run: list[tuple[float, float]] = []
    for at, value in zip(plot.times, plot.values, strict=True):
        if run and (value is None or at - run[-1][0] > LONGEST_STEP_S):
            yield run
            run = []
        if value is not None:
            run.append((at, value))
    if run:
        yield run


def _ceiling(largest: float, unit: str, parts: int) -> float:
    """The round number that ends the value axis, which has `parts`."""
    if unit == "%" and largest <= 100:
        return 100.0
    if unit == "" and largest <= 5 * parts:
        return float(parts * max(1, math.ceil(largest / parts)))
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= largest * 0.9999)


def _value_ticks(bottom: float, top: float, parts: int) -> tuple[list[float], list[str]]:
    positions = [bottom + (top - bottom) * part / parts for part in range(parts + 1)]
    return positions, [f"{position:.4g}" for position in positions]


def _time_ticks(window_s: float, width: int) -> tuple[list[float], list[str]]:
    parts = max(1, min(6 if window_s == 60 else 5, width // _TICK_EVERY_COLUMNS))
    positions = [-window_s * part / parts for part in range(parts, -1, -1)]
    return positions, [_ago(position) for position in positions]


def _ago(position: float) -> str:
    seconds = round(-position)
    if seconds == 0:
        return "now"
    minutes, rest = divmod(seconds, 60)
    return f"-{minutes}m{rest:02d}s" if minutes and rest else f"-{minutes}m" if minutes else f"-{rest}s"
