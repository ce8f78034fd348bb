"""The last hour of several figures that are measured at the same times, in bounded memory."""

import math
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite

STEP_S = 10
"""How long a step is: the time that a mean is of"""
FULL_S = 15 * 60
"""For so long every value is kept; before that one mean for each step"""
KEPT_S = 60 * 60
APART_S = 60.0
"""Between points further apart than this nothing is known, and a gap is put"""
MOST_POINTS = 2 * FULL_S
"""At full resolution, however often values come"""
MOST_KEYS = 2000
"""One endpoint must not fill the memory: figures beyond these are not kept"""

NOTHING = math.nan
"""A gap, as it is held; figures that are no finite numbers are gaps, too"""

Points = tuple[tuple[float, ...], tuple[float | None, ...]]


@dataclass(frozen=True, slots=True)
class Step:
    """The means of one step, i.e. of the values that were measured in it, gaps left out."""

    number: int
    """It begins at `number * STEP_S` seconds since the epoch"""
    samples: int
    """How many values the figure with the most of them had in it; 0: all is a gap"""
    means: Mapping[str, float]
    """Without the figures that had no value in it"""


class Timeline:
    """The last 15 minutes as they were measured, and before that means of 10 s, up to an hour. Safe in any thread.

    Times are seconds since the epoch. A mean's point lies in the middle of its step. None is a gap: nothing was
    measured then, or there was nothing to measure. Where the clock was set back, what it had called later is forgotten.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times = array("d")
        self._values: dict[str, array[float]] = {}
        """As many as `_times`, at full resolution"""
        self._steps = array("q")
        """Numbers of all steps kept, the last 15 minutes' among them, less the one that goes on"""
        self._samples = array("l")
        self._means: dict[str, array[float]] = {}
        """As many as `_steps`"""
        self._drawn: tuple[float, ...] | None = None

    def append(self, at: float, values: Mapping[str, float | None]) -> None:
        """What was measured at `at`; a figure that is not among `values` has a gap there."""
        with self._lock:
            number = _number(at)
            if self._times:
                if at <= self._times[-1]:
                    self._forget_from(at)
                elif at - self._times[-1] > APART_S:
                    self._add(self._times[-1] + 1.0, {})
            elif self._steps:
                self._forget_from(at)
                self._put_gap(number)
            self._add(at, values)
            self._drawn = None

    def points(self, key: str) -> Points:
        """Times and values, oldest first; both empty for a figure that is not known."""
        with self._lock:
            if key not in self._values and key not in self._means:
                return (), ()
            older = self._older
            if self._drawn is None:
                middles = [(number + 0.5) * STEP_S for number in self._steps[:older]]
                self._drawn = (*middles, *self._times)
            means = self._means.get(key)
            values = self._values.get(key)
            held = means[:older] if means is not None else array("d", [NOTHING]) * older
            held += values if values is not None else array("d", [NOTHING]) * len(self._times)
            total = sum(held)  # no number when one of them is none
            return self._drawn, tuple(held) if total == total else tuple([None if one != one else one for one in held])

    @property
    def keys(self) -> tuple[str, ...]:
        """Figures with at least one value."""
        with self._lock:
            return tuple({**self._means, **self._values})

    @property
    def appended(self) -> float | None:
        """When something was appended last; None when nothing was, though others' steps may have been put before."""
        with self._lock:
            return self._times[-1] if self._times else None

    @property
    def newest(self) -> float | None:
        """The last point's time, gaps included."""
        with self._lock:
            if self._times:
                return self._times[-1]
            return (self._steps[-1] + 0.5) * STEP_S if self._steps else None

    def steps(self, after: int, *, unfinished: bool = False) -> list[Step]:
        """The means of the steps after number `after`, oldest first; `unfinished`: and of the one that goes on."""
        with self._lock:
            first = bisect_left(self._steps, after + 1)
            found = [self._step(index) for index in range(first, len(self._steps))]
            if unfinished and self._times and (number := _number(self._times[-1])) > after:
                found.append(self._mean(number))
            return found

    def put_before(self, steps: Iterable[Step]) -> None:
        """What others have measured before the first point here, oldest first."""
        with self._lock:
            first = next(iter(self._steps), _number(self._times[0]) if self._times else None)
            numbers, samples, means = self._steps, self._samples, self._means
            self._steps, self._samples, self._means = array("q"), array("l"), {}
            for step in steps:
                if first is None or step.number < first:
                    self._add_step(step)
            if first is not None:
                self._put_gap(first)
            for key in means.keys() - self._means.keys():
                self._means[key] = array("d", [NOTHING]) * len(self._steps)
            for key, known in self._means.items():
                known += means.get(key) or array("d", [NOTHING]) * len(numbers)
            self._steps += numbers
            self._samples += samples
            newest = _number(self._times[-1]) if self._times else (self._steps[-1] if self._steps else 0)
            self._drop_old(newest)
            self._drawn = None

    # -- held with the lock -------------------------------------------------------------------------------------------

    @property
    def _older(self) -> int:
        """How many of the steps lie before full resolution begins."""
        return bisect_left(self._steps, _number(self._times[0])) if self._times else len(self._steps)

    def _add(self, at: float, values: Mapping[str, float | None]) -> None:
        number = _number(at)
        if self._times and (before := _number(self._times[-1])) < number:
            self._add_step(self._mean(before))
            self._drop_old(number)
        count = len(self._times)
        self._times.append(at)
        for key, column in self._values.items():
            value = values.get(key)
            column.append(value if value is not None and isfinite(value) else NOTHING)
        for key in values.keys() - self._values.keys():
            value = values[key]
            if value is not None and isfinite(value) and len(self._values) < MOST_KEYS:
                self._values[key] = array("d", [NOTHING]) * count
                self._values[key].append(value)

    def _mean(self, number: int) -> Step:
        """Of a step at full resolution."""
        first, end = (bisect_left(self._times, edge * STEP_S) for edge in (number, number + 1))
        means, samples = {}, 0
        for key, column in self._values.items():
            measured = [value for value in column[first:end] if value == value]
            if measured:
                means[key] = math.fsum(measured) / len(measured)
                samples = max(samples, len(measured))
        return Step(number, samples, means)

    def _put_gap(self, number: int) -> None:
        """Before a step with this number, when nothing is known of long before it."""
        if self._steps and number - self._steps[-1] > APART_S / STEP_S:
            self._add_step(Step(self._steps[-1] + 1, 0, {}))

    def _add_step(self, step: Step) -> None:
        self._put_gap(step.number)
        count = len(self._steps)
        self._steps.append(step.number)
        self._samples.append(step.samples)
        for key in step.means.keys() - self._means.keys():
            if len(self._means) < MOST_KEYS:
                self._means[key] = array("d", [NOTHING]) * count
        for key, column in self._means.items():
            column.append(step.means.get(key, NOTHING))

    def _step(self, index: int) -> Step:
        means = {key: column[index] for key, column in self._means.items() if column[index] == column[index]}
        return Step(self._steps[index], self._samples[index], means)

    def _drop_old(self, number: int) -> None:
        """Beyond an hour, and beyond 15 minutes at full resolution, where full resolution ends at a step's end."""
        old = bisect_left(self._steps, number - KEPT_S // STEP_S)
        if old:
            del self._steps[:old], self._samples[:old]
            _drop(self._means, slice(0, old))
        first = number - FULL_S // STEP_S
        if len(self._times) > MOST_POINTS:
            first = max(first, _number(self._times[-MOST_POINTS]) + 1)
        old = bisect_left(self._times, first * STEP_S)
        if old:
            del self._times[:old]
            _drop(self._values, slice(0, old))

    def _forget_from(self, at: float) -> None:
        keep = bisect_left(self._times, at)
        del self._times[keep:]
        _drop(self._values, slice(keep, None))
        keep = bisect_left(self._steps, _number(at))
        del self._steps[keep:], self._samples[keep:]
        _drop(self._means, slice(keep, None))


def _number(at: float) -> int:
    return int(at // STEP_S)


def _drop(columns: "dict[str, array[float]]", part: slice) -> None:
    """Figures of which nothing is left go, too."""
    for column in columns.values():
        del column[part]
    for key in [key for key, column in columns.items() if not any(value == value for value in column)]:
        del columns[key]
