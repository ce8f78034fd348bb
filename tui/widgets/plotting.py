"""Curves over time as lines of text, drawn by plotext. Blocks for a few milliseconds: call it off the event loop."""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.cells import cell_len

from tui.widgets.glyphs import cut, scale_for

LONGEST_STEP_S = 60.0
"""Points further apart than this are not joined"""
DOTS_PER_COLUMN = 2
"""Braille has two columns of dots in a cell"""
LEAST_WIDTH, LEAST_HEIGHT = 12, 4
_LEAST_TEXT = 8
_TICK_EVERY_COLUMNS = 14
_TICK_EVERY_ROWS = 4
_AXIS_ROWS = 2
_BOX_TO_ASCII = str.maketrans("┤│└┬─", "||++-")
_ROUND_PARTS = {60: (6, 4, 3, 2), 300: (5, 2), 900: (5, 3), 3600: (6, 4, 3, 2)}
"""Into how many parts of a round length the time axis of a window can be divided"""

# plotext has one figure per process.
_plotext = threading.Lock()

Points = list[tuple[float, float]]
Row = tuple[tuple[str, str], ...]
"""Pieces of text, each with its look: dim, curve or mark"""


@dataclass(frozen=True, slots=True)
class Curve:
    times: tuple[float, ...]
    values: tuple[float | None, ...]
    """As many; None is a gap"""


@dataclass(frozen=True, slots=True)
class Plot:
    """What to draw, in `width` by `height` cells: curves over times (seconds), all from `end - window_s` to `end`."""

    curves: tuple[Curve, ...]
    unit: str
    window_s: float
    end: float
    width: int
    height: int
    marks: tuple[tuple[float, str], ...] = ()
    """Times at which something happened, and what"""
    plain: bool = False
    most: float | None = None
    """What the values can be at most, where the axis is to end there"""


@dataclass(frozen=True, slots=True)
class Drawing:
    rows: tuple[Row, ...]
    """The last two are the time axis"""
    unit: str
    """What the value axis counts"""


def draw(plot: Plot) -> Drawing | None:
    """None when there is nothing to draw in the window, or no room."""
    runs = [list(_thinned(run, plot)) for curve in plot.curves for run in _runs(curve)]
    if not runs or not has_room(plot):
        return None
    values = [value for run in runs for _, value in run]
    most = plot.most if plot.most and plot.most >= max(values) else None
    divisor, unit = scale_for(most or max(values), plot.unit)
    parts = 4 if plot.height >= 4 * _TICK_EVERY_ROWS else 2
    top = most / divisor if most else _ceiling(max(values) / divisor, unit, parts)
    bottom = min(0.0, min(values) / divisor)
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
    return Drawing(tuple(_rows(text.rstrip("\n").split("\n"), plot)), unit)


def has_room(plot: Plot) -> bool:
    return plot.width >= LEAST_WIDTH and plot.height >= LEAST_HEIGHT


def _runs(curve: Curve) -> Iterator[Points]:
    """Stretches without a gap."""
    run: Points = []
    for at, value in zip(curve.times, curve.values, strict=True):
        if run and (value is None or at - run[-1][0] > LONGEST_STEP_S):
            yield run
            run = []
        if value is not None:
            run.append((at, value))
    if run:
        yield run


def _thinned(run: Points, plot: Plot) -> Iterator[tuple[float, float]]:
    """The least and the greatest in each column of dots: no peak is lost, and an hour is drawn as fast as a minute."""
    step = plot.window_s / (plot.width * DOTS_PER_COLUMN)
    for _, points in groupby(run, lambda point: math.floor((plot.end - point[0]) / step)):
        found = list(points)
        extremes = {min(found, key=_value), max(found, key=_value)}
        yield from sorted(extremes)


def _value(point: tuple[float, float]) -> float:
    return point[1]


def _rows(lines: Sequence[str], plot: Plot) -> Iterator[Row]:
    """The drawn lines as pieces, with the marks where the curves leave room."""
    margin = max((line.find(sign) + 1 for line in lines for sign in "┤│" if sign in line), default=0)
    last = len(lines) - _AXIS_ROWS
    marks = list(_columns(plot, margin))
    said: set[int] = set()
    for y, line in enumerate(lines):
        full = line.ljust(plot.width)
        if plot.plain:
            full = full.translate(_BOX_TO_ASCII)
        if y >= last:
            yield ((full, "dim"),)
            continue
        cells = [(cell, "dim" if x < margin else "curve") for x, cell in enumerate(full)]
        for number, (column, text) in enumerate(marks):
            if cells[column][0] in " \u2800":
                cells[column] = ("|" if plot.plain else "│", "mark")
            following = next((x for x, _ in marks[number + 1 :] if x > column), plot.width)
            if number not in said and _write(cells, text, margin, column, following):
                said.add(number)
        yield tuple((("".join(cell for cell, _ in some)), look) for look, some in groupby(cells, lambda cell: cell[1]))


def _columns(plot: Plot, margin: int) -> Iterator[tuple[int, str]]:
    """Where the marks stand."""
    span = plot.width - margin - 1
    longest = max(_LEAST_TEXT, span // 2 - 1)
    for at, text in plot.marks:
        ago = plot.end - at
        if 0 <= ago <= plot.window_s and span > 0:
            yield (
                margin + round((1 - ago / plot.window_s) * span),
                text if cell_len(text) <= longest else cut(text, longest),
            )


def _write(cells: list[tuple[str, str]], text: str, margin: int, column: int, following: int) -> bool:
    """The text of a mark beside its line, if its row is empty there."""
    for start, end in ((column + 1, following), (margin, column)):
        at = start if start > column else column - len(text)
        room = cells[at : at + len(text)]
        if at >= start and at + len(text) <= end and all(cell in " \u2800" for cell, _ in room):
            cells[at : at + len(text)] = [(letter, "mark") for letter in text]
            return True
    return False


def _ceiling(largest: float, unit: str, parts: int) -> float:
    """The round number that ends the value axis, which has `parts`."""
    if unit == "%" and largest <= 100:
        return 100.0
    if unit == "" and largest <= 5 * parts:
        return float(parts * max(1, math.ceil(largest / parts)))
    if largest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    tops = (step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= largest * 0.9999)
    return next(top for top in tops if unit or top % parts == 0)  # a half of something counted is none


def _value_ticks(bottom: float, top: float, parts: int) -> tuple[list[float], list[str]]:
    positions = [bottom + (top - bottom) * part / parts for part in range(parts + 1)]
    return positions, [f"{position:.4g}" for position in positions]


def _time_ticks(window_s: float, width: int) -> tuple[list[float], list[str]]:
    room = width // _TICK_EVERY_COLUMNS
    parts = next((parts for parts in _ROUND_PARTS.get(round(window_s), (2,)) if parts <= room), 1)
    positions = [-window_s * part / parts for part in range(parts, -1, -1)]
    return positions, [_ago(position) for position in positions]


def _ago(position: float) -> str:
    seconds = round(-position)
    if seconds == 0:
        return "now"
    minutes, rest = divmod(seconds, 60)
    return f"-{minutes}m{rest:02d}s" if minutes and rest else f"-{minutes}m" if minutes else f"-{rest}s"
