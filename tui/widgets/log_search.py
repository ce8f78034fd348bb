"""Finds the lines of a log that are wanted, a slice at a time, so that the screen never waits for it."""

import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from copy import copy
from typing import Protocol

from engine.log_line import LogLine
from tui.widgets.log_pattern import Bounded

SLICE_S = 0.006
"""Time that one slice may take"""
_BATCH = 200
_FORGET = 10_000


class Lines(Protocol):
    """A log, or a part of it."""

    @property
    def first(self) -> int: ...

    @property
    def end(self) -> int: ...

    def lines(self, start: int, stop: int) -> Sequence[LogLine]:
        """Those among `start <= seq < stop`."""
        ...


class Scan:
    """The numbers of the wanted lines among those kept. `advance` does a little work; it is called until it is done."""

    def __init__(self, lines: Lines, wanted: Callable[[LogLine], bool]) -> None:
        self._lines = lines
        self._wanted = wanted
        self._found: list[int] = []
        self._next = lines.first

    @property
    def first(self) -> int:
        return self._lines.first

    @property
    def next(self) -> int:
        """Number of the line that is looked at next; all before it have been."""
        return self._next

    @property
    def count(self) -> int:
        return len(self._found) - self._oldest

    @property
    def _oldest(self) -> int:
        """Where the lines that are still kept begin."""
        return bisect_left(self._found, self._lines.first)

    @property
    def complete(self) -> bool:
        return self._next >= self._lines.end

    def advance(self) -> bool:
        """Looks at more lines, for a few milliseconds. True when lines remain to be looked at. Raises `TooSlow`."""
        self._next = max(self._next, self._lines.first)
        deadline = time.perf_counter() + SLICE_S
        while self._next < (end := self._lines.end) and time.perf_counter() < deadline:
            stop = min(self._next + _BATCH, end)
            lines = self._lines.lines(self._next, stop)
            with Bounded():
                found = [line.seq for line in lines if self._wanted(line)]
            self._found += found
            self._next = stop
        if self._found and self._found[0] < self._lines.first - _FORGET:
            del self._found[: self._oldest]
        return not self.complete

    def look_again_at_last(self) -> None:
        """The last line may have been unfinished when it was looked at."""
        if self._next > self._lines.first:
            self._next = min(self._next, self._lines.end) - 1
            while self._found and self._found[-1] >= self._next:
                self._found.pop()

    def copy(self) -> "Scan":
        """What has been found by now, for another thread."""
        other = copy(self)
        other._found = self._found.copy()  # noqa: SLF001 (its own kind)
        return other

    def among(self, start: int, stop: int) -> list[int]:
        """The kept ones of `start <= seq < stop`."""
        first = max(start, self._lines.first)
        return self._found[bisect_left(self._found, first) : bisect_left(self._found, stop)]

    def from_on(self, seq: int, count: int) -> list[int]:
        """The first `count` from `seq` on."""
        index = max(self._oldest, bisect_left(self._found, seq))
        return self._found[index : index + count]

    def up_to(self, seq: int, count: int) -> list[int]:
        """The last `count` before `seq`."""
        index = bisect_left(self._found, seq)
        return self._found[max(self._oldest, index - count) : index]

    def below(self, seq: int) -> int:
        """How many come after it."""
        return len(self._found) - max(self._oldest, bisect_right(self._found, seq))

    def after(self, seq: int) -> int | None:
        """The next one below, or the first of all when there is none."""
        found = self.from_on(seq + 1, 1) or self.from_on(0, 1)
        return found[0] if found else None

    def before(self, seq: int) -> int | None:
        """The next one above, or the last of all when there is none."""
        found = self.up_to(seq, 1) or self._found[self._oldest :][-1:]
        return found[0] if found else None

    def position(self, seq: int) -> int | None:
        """1 for the oldest that is kept; None when the line is not wanted."""
        index = bisect_left(self._found, seq)
        if index == len(self._found) or self._found[index] != seq:
            return None
        return index - self._oldest + 1


class LogSearch(Scan):
    """The lines that match."""

    def __init__(self, lines: Lines, pattern: re.Pattern[str]) -> None:
        super().__init__(lines, lambda line: pattern.search(line.text) is not None)
        self.pattern = pattern
