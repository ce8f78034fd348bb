"""Finds the lines of a log that match, a slice at a time, so that the screen never waits for it."""

import re
import time
from bisect import bisect_left, bisect_right

from engine.api import LogFeed

SLICE_S = 0.004
"""Time that one slice may take"""
_BATCH = 200
_FORGET = 10_000


class LogSearch:
    """The matching lines among those kept. `advance` does a little work; it is called until it has nothing to do."""

    def __init__(self, feed: LogFeed, pattern: re.Pattern[str]) -> None:
        self._feed = feed
        self.pattern = pattern
        self._matches: list[int] = []
        self._next = feed.first

    @property
    def count(self) -> int:
        return len(self._matches) - bisect_left(self._matches, self._feed.first)

    @property
    def complete(self) -> bool:
        return self._next >= self._feed.end

    def advance(self) -> bool:
        """Looks at more lines, for a few milliseconds. True when lines remain to be looked at."""
        self._next = max(self._next, self._feed.first)
        deadline = time.perf_counter() + SLICE_S
        while time.perf_counter() < deadline:
            lines = self._feed.lines(self._next, self._next + _BATCH)
            if not lines:
                break
            search = self.pattern.search
            self._matches += [line.seq for line in lines if search(line.text)]
            self._next = lines[-1].seq + 1
        if self._matches and self._matches[0] < self._feed.first - _FORGET:
            del self._matches[: bisect_left(self._matches, self._feed.first)]
        return not self.complete

    def look_again_at_last(self) -> None:
        """The last line may have been unfinished when it was looked at."""
        last = self._next - 1
        if self._next > self._feed.first:
            self._next = last
            if self._matches and self._matches[-1] == last:
                self._matches.pop()

    def after(self, seq: int) -> int | None:
        """The next match below, or the first of all when there is none."""
        first = bisect_left(self._matches, self._feed.first)
        if first == len(self._matches):
            return None
        index = max(first, bisect_right(self._matches, seq))
        return self._matches[index if index < len(self._matches) else first]

    def before(self, seq: int) -> int | None:
        """The next match above, or the last of all when there is none."""
        first = bisect_left(self._matches, self._feed.first)
        if first == len(self._matches):
            return None
        index = bisect_left(self._matches, seq) - 1
        return self._matches[index if index >= first else -1]

    def position(self, seq: int) -> int | None:
        """1 for the oldest match that is kept; None when the line is no match."""
        index = bisect_left(self._matches, seq)
        if index == len(self._matches) or self._matches[index] != seq:
            return None
        return index - bisect_left(self._matches, self._feed.first) + 1


def compile_pattern(text: str) -> re.Pattern[str]:
    """Capitals matter only when there are some. Raises re.error."""
    return re.compile(text, re.NOFLAG if any(char.isupper() for char in text) else re.IGNORECASE)
