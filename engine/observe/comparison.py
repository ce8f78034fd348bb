"""What a swap, or a start anew, has changed: figures before and after, side by side."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from engine.metrics_reading import Bound, Compared, Comparison, MetricsReading, Series
from engine.observe.aside import aside
from engine.observe.history_file import Measured
from engine.observe.kept_bounds import bound_of
from engine.observe.marks import Change, last_change, marks
from engine.observe.metric_history import History
from engine.observe.pace import Pace
from engine.observe.timeline import KEPT_S
from engine.snapshot import OperationStatus

WINDOW_S = 15 * 60.0
LEAST_S = 20.0
"""Less than this, measured of a figure on either side, says nothing"""
LOOK_EVERY_S = 2.0
ANEW_EVERY_S = 10.0
"""While time is added to what comes after"""
UNSEEN = 0.01
"""Of a mean, no more than this part may have been below a histogram's first bound: it is not seen in the mean"""
ASKED_S = 10.0
"""Who has not asked for so long does not look any longer"""


class Starts(Protocol):
    def starts(self, name: str) -> Sequence[float]:
        """When the runs of a deployment began that have been seen, oldest first."""
        ...


@dataclass(slots=True)
class _Answer:
    change: Change | None
    at: float
    comparison: Comparison | None = None


def compare(
    change: Change, before: Sequence[Measured], after: Sequence[Measured], figures: Iterable[Series]
) -> Comparison | None:
    """Of the figures that both sides have for at least `LEAST_S`; None when there are none.

    Each is a mean over time: every second in which it was measured counts alike, however much was asked in it. For a
    quantile it is therefore the p99, say, of a typical second, and not the p99 of all requests of that time.
    """
    rows = []
    for one in figures:
        first, second = _mean(one.key, before), _mean(one.key, after)
        if first and second:
            title = f"{one.title} · {one.of}" if one.of else one.title
            rows.append(Compared(one.key, title, one.unit, first[0], second[0], first[1], second[1]))
    if not rows:
        return None
    return Comparison(change.mark, change.before, _seconds(before), _seconds(after), tuple(rows))


def _mean(key: str, measured: Sequence[Measured]) -> tuple[float, Bound] | None:
    """With what can be said of it; what was below a bound counts as the bound, and as nothing in a lower limit."""
    known = [(bound_of(key, one.means), one.means[key] * one.seconds) for one in measured if key in one.means]
    seconds = sum(one.seconds for one in measured if key in one.means)
    if seconds < LEAST_S:
        return None
    total = math.fsum(amount for _, amount in known)
    below = math.fsum(amount for bound, amount in known if bound is Bound.BELOW)
    if any(bound is Bound.ABOVE for bound, _ in known):
        return (total - below) / seconds, Bound.ABOVE
    return total / seconds, Bound.BELOW if below > UNSEEN * total else Bound.EXACT


def _seconds(measured: Sequence[Measured]) -> float:
    return float(sum(one.seconds for one in measured if one.samples))


class Comparisons:
    """Of the deployments that somebody looks at. `told` is for any thread; what is compared is computed beside it."""

    def __init__(
        self, history: History | None, runs: Starts, operations: Callable[[], tuple[OperationStatus, ...]]
    ) -> None:
        self._history = history
        self._runs = runs
        self._operations = operations
        self._lock = threading.Lock()
        self._asked: dict[str, float] = {}
        self._answers: dict[str, _Answer] = {}

    def told(self, name: str, reading: MetricsReading) -> MetricsReading:
        """The reading with what happened, and what that has changed as far as it is known yet."""
        now = time.time()
        with self._lock:
            self._asked[name] = now
            answer = self._answers.get(name)
        if not reading.series:
            return reading
        happened = marks(name, self._operations(), self._runs.starts(name), now - KEPT_S)
        compared = answer.comparison if answer else None
        return replace(reading, marks=happened, comparison=compared)

    async def keep(self) -> None:
        """Does not end."""
        history, pace = self._history, Pace()
        while history:
            now = time.time()
            with self._lock:
                self._asked = {name: at for name, at in self._asked.items() if now - at < ASKED_S}
                self._answers = {name: one for name, one in self._answers.items() if name in self._asked}
                asked = list(self._asked)
            for name in asked:
                change = last_change(name, self._operations(), self._runs.starts(name))
                if self._is_due(name, change, now):
                    comparison = await aside(self._compare, history, name, change) if change else None
                    with self._lock:
                        self._answers[name] = _Answer(change, now, comparison)
            await pace.rest(LOOK_EVERY_S)

    def _is_due(self, name: str, change: Change | None, now: float) -> bool:
        answer = self._answers.get(name)
        if answer is None or answer.change != change:
            return True
        growing = change is not None and answer.at < change.since + WINDOW_S + ANEW_EVERY_S
        return growing and now - answer.at >= ANEW_EVERY_S

    def _compare(self, history: History, name: str, change: Change) -> Comparison | None:
        """Blocks."""
        before = history.measured(change.before, change.until - WINDOW_S, change.until)
        if not before:
            return None
        after = history.measured(name, change.since, change.since + WINDOW_S)
        return compare(change, before, after, history.figures(name))
