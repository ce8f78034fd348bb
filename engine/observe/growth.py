"""What counters have grown by, in spite of restarts, gaps, and series that come and go."""

import math
from collections import deque
from collections.abc import Iterable, Mapping

from engine.observe.exposition import Exposition, Labels

LONGEST_INTERVAL_S = 60.0
"""Scrapes further apart than this are not compared: their mean would pass for a current rate"""
WINDOW_S = 60.0
"""Quantiles and ratios are of what happened in the last so many seconds: in one second too little does"""

_ROUNDED = 1e-6

LabelSet = tuple[str, Labels]


class Growth:
    """Of every series as if it were a counter: since the last scrape, and over the window. Times in seconds.

    - A counter that fell began anew, and has grown by what it is now, as Prometheus' `increase` has it. When one bucket
      of a histogram fell, all buckets of that label set began anew.
    - A series that the scrape before did not have began at 0 meanwhile. One that comes back within
      `LONGEST_INTERVAL_S` has grown since it was last seen; later it begins without growth.
    - A histogram's label set whose bounds change begins without growth, and what the window had of it is forgotten.
      When it has fewer observations than before, too, the server has begun anew, and they count.
    - Nothing is compared over more than `LONGEST_INTERVAL_S`, nor after the clock was set back: all begins anew.
    """

    def __init__(self) -> None:
        self.step: dict[int, float] = {}
        """By a series' number, since the last scrape; what has not grown is not in it"""
        self.seconds: float | None = None
        """Since the last scrape; None when it is not compared with it"""
        self.window: list[float] = []
        """By a series' number, over `WINDOW_S` up to the last scrape"""
        self.unknown: set[int] = set()
        """Series whose last value was no finite number; with the next that is one they begin without growth"""
        self._at: float | None = None
        self._before: list[float | None] = []
        """The last finite value; None of a series that has never had one"""
        self._gone: dict[int, float] = {}
        """When a series that is not there any more was last seen"""
        self._bounds: dict[LabelSet, Mapping[float, int]] = {}
        """As each histogram's label set last had them"""
        self._last: Exposition | None = None
        self._steps: deque[tuple[float, dict[int, float]]] = deque()

    def update(self, now: Exposition, at: float) -> None:
        last, last_at = self._last, self._at
        self._last, self._at = now, at
        known = last is not None and now.slots is last.slots
        if last is None or last_at is None or not known or not 0 < at - last_at <= LONGEST_INTERVAL_S:
            self._begin(now, anew=not known)
            return
        self.seconds = at - last_at
        more = len(now.slots) - len(self._before)
        if more:
            self._before += [None] * more
            self.window += [0.0] * more
        changed: Iterable[int] = now.changed
        if now.present is not last.present:
            changed = self._come_and_gone(last, now, last_at, at) | self._bounds_changed(now)
        self.step = self._grown(now, changed)
        self._slide(at)

    def _begin(self, now: Exposition, *, anew: bool) -> None:
        if anew:
            self._before, self._bounds = [], {}
        count = len(now.slots)
        self.seconds, self.step, self.unknown = None, {}, set()
        self.window = [0.0] * count
        self._steps.clear()
        self._before += [None] * (count - len(self._before))
        there = set(now.present)
        seen = (number for number, value in enumerate(self._before) if value is not None)
        self._gone = {number: -math.inf for number in seen if number not in there}
        for number in now.present:
            self._take(number, now.values[number])
        self._bounds |= _bounds(now)

    def _take(self, number: int, value: float) -> None:
        if math.isfinite(value):
            self._before[number] = value
            self.unknown.discard(number)
        else:
            self.unknown.add(number)

    def _grown(self, now: Exposition, changed: Iterable[int]) -> dict[int, float]:
        step: dict[int, float] = {}
        values, before, slots = now.values, self._before, now.slots
        restarted: set[LabelSet] = set()
        for number in changed:
            value, earlier = values[number], before[number]
            if value - value != 0:  # neither NaN nor an infinity
                self.unknown.add(number)
                continue
            before[number] = value
            if number in self.unknown:
                self.unknown.discard(number)
                continue
            growth = value - (earlier or 0.0)
            if growth < 0:
                growth = max(value, 0.0)  # no counter is below 0, but a gauge is compared, too
                slot = slots[number]
                if slot.bound is not None:
                    restarted.add((slot.name, slot.labels))
            if growth:
                step[number] = growth
        if restarted:
            for number in now.present:
                slot = slots[number]
                if slot.bound is not None and (slot.name, slot.labels) in restarted and values[number] > 0:
                    step[number] = values[number]
        return step

    def _slide(self, at: float) -> None:
        window, steps = self.window, self._steps
        steps.append((at, self.step))
        for number, growth in self.step.items():
            window[number] += growth
        while steps[0][0] <= at - WINDOW_S:
            for number, growth in steps.popleft()[1].items():
                rest = window[number] - growth
                # Where nearly nothing is left, what is, may be a rounding error.
                window[number] = rest if rest > growth * _ROUNDED else self._summed(number)

    def _summed(self, number: int) -> float:
        return sum([step[number] for _, step in self._steps if number in step])

    # -- when series came or went -------------------------------------------------------------------------------------

    def _come_and_gone(self, last: Exposition, now: Exposition, last_at: float, at: float) -> set[int]:
        """The series that can be compared."""
        there = set(now.present)
        for number in last.present:
            if number not in there:
                self._gone[number] = last_at
                self.unknown.discard(number)
        compared = set()
        for number in now.present:
            if at - self._gone.pop(number, at) > LONGEST_INTERVAL_S:
                self._take(number, now.values[number])
            else:
                compared.add(number)
        return compared

    def _bounds_changed(self, now: Exposition) -> set[int]:
        """The series that count from 0: of label sets whose bounds are others because the server began anew."""
        were, are = self._bounds, _bounds(now)
        changed = {of for of, bounds in are.items() if of in were and were[of].keys() != bounds.keys()}
        numbers = {number for of in changed for number in (*were[of].values(), *are[of].values())}
        for _, step in self._steps:
            for number in numbers & step.keys():
                del step[number]
        for number in numbers:
            self.window[number] = 0.0
        anew: set[int] = set()
        for of in changed:
            total = are[of].get(math.inf)
            earlier = self._before[total] if total is not None else None
            fell = total is not None and earlier is not None and now.values[total] < earlier
            for number in are[of].values():
                if fell:
                    self._before[number] = 0.0
                    anew.add(number)
                else:
                    self._take(number, now.values[number])
        self._bounds |= are
        return anew


def _bounds(exposition: Exposition) -> Mapping[LabelSet, Mapping[float, int]]:
    """The numbers of each histogram's buckets by upper bound."""
    found: dict[LabelSet, dict[float, int]] = {}
    for number in exposition.present:
        slot = exposition.slots[number]
        if slot.bound is not None:
            found.setdefault((slot.name, slot.labels), {})[slot.bound] = number
    return found
