"""A series as a sparkline over a stretch of time, which changes at most every few seconds."""

import math
from bisect import bisect_left
from collections.abc import Callable

from engine.deployment import State
from engine.metrics_reading import MetricsReading, Series
from engine.snapshot import Model
from tui.widgets.glyphs import sparkline, with_unit

CELLS = 8
LIST_CELL_S = 15.0
"""What a cell of the list stands for"""
OF_LIST = ("generation", "finished", "requests")
"""What a deployment does, in what says most about it"""


def step(cell_s: float) -> float:
    """How often a line moves, in seconds: a cell of an hour's line is over minutes after what it tells."""
    return min(cell_s, LIST_CELL_S)


def spark(series: Series, cell_s: float, now: float, *, plain: bool) -> str:
    """The greatest value in each cell of `cell_s` seconds, up to the last `step(cell_s)` that is over."""
    end = math.floor(now / step(cell_s)) * step(cell_s)
    times = series.times
    at = [bisect_left(times, end - cell_s * back) for back in range(CELLS, -1, -1)]
    cells = [_greatest(series.values[at[cell] : at[cell + 1]]) for cell in range(CELLS)]
    known = [value for value in cells if value is not None]
    return sparkline(cells, CELLS, 100.0 if series.unit == "%" else max(known, default=0.0), plain=plain)


def _greatest(values: tuple[float | None, ...]) -> float | None:
    return max((value for value in values if value is not None), default=None)


class ListSparks:
    """Of the deployments in the list that are ready, made anew only when a cell is over: they cost next to nothing."""

    def __init__(self, metrics: Callable[[str], MetricsReading], *, plain: bool) -> None:
        self._metrics = metrics
        self._plain = plain
        self._made: dict[str, tuple[float, str, str]] = {}

    def of(self, model: Model, now: float) -> tuple[str, str]:
        """The line, and what it ends with as a number; empty where there is nothing to show."""
        if model.state is not State.READY or model.deployment is None or model.deployment.service.metrics is None:
            self._made.pop(model.name, None)
            return "", ""
        end = math.floor(now / LIST_CELL_S)
        known = self._made.get(model.name)
        if known is None or known[0] != end:
            self._made[model.name] = known = (end, *self._make(model.name, now))
        return known[1], known[2]

    def _make(self, name: str, now: float) -> tuple[str, str]:
        of_all = {one.key: one for one in reversed(self._metrics(name).series) if not one.of}
        series = next((of_all[key] for key in OF_LIST if key in of_all), None)
        if series is None:
            return "", ""
        line = spark(series, LIST_CELL_S, now, plain=self._plain)
        return (line, with_unit(series.value, series.unit)) if line.strip() else ("", "")
