"""Which lines of a log are shown."""

import re
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from engine.api import LogFeed
from engine.log_line import Level, LineKind, LogLine
from tui.widgets.log_look import continues, level_of
from tui.widgets.log_search import Scan

LEVELS = (None, Level.WARNING, Level.ERROR)
"""From all to the gravest, as the key goes through them"""
_FEW = 16
"""Among so many lines one is asked for by itself: with those that it is read in the light of, it costs as much"""
_WORDS = {Level.WARNING: "warnings and worse", Level.ERROR: "errors"}


@dataclass(frozen=True, slots=True)
class LogFilter:
    level: Level | None = None
    """The least grave that is shown"""
    pattern: re.Pattern[str] | None = None
    inverted: bool = False
    """What matches is hidden, in place of what does not"""

    def __bool__(self) -> bool:
        return self.level is not None or self.pattern is not None

    @property
    def words(self) -> str:
        parts = [_WORDS[self.level]] if self.level else []
        if self.pattern:
            parts.append(f"{'without' if self.inverted else 'with'} {self.pattern.pattern}")
        return ", ".join(parts)


class AllLines:
    """Every line of a feed."""

    def __init__(self, feed: LogFeed) -> None:
        self.feed = feed

    @property
    def first(self) -> int:
        return self.feed.first

    @property
    def end(self) -> int:
        return self.feed.end

    @property
    def count(self) -> int:
        return self.end - self.first

    folded = True
    """Lines that belong together follow each other"""

    def as_of_now(self) -> "AllLines":
        """For another thread, while these go on."""
        return self

    def lines(self, start: int, stop: int) -> Sequence[LogLine]:
        return self.feed.lines(start, stop)

    def from_on(self, seq: int, count: int) -> Sequence[LogLine]:
        """The first `count` lines from `seq` on."""
        start = max(seq, self.first)
        return self.feed.lines(start, start + count)

    def up_to(self, seq: int, count: int) -> Sequence[LogLine]:
        """The last `count` lines before `seq`."""
        seq = min(seq, self.end)
        return self.feed.lines(max(0, seq - count), seq)

    def below(self, seq: int) -> int:
        """How many lines come after it."""
        return max(0, self.end - 1 - max(seq, self.first - 1))

    def count_between(self, first: int, last: int) -> int:
        """Both included."""
        return self.below(first - 1) - self.below(last)


class FilteredLines(AllLines):
    """Those of a feed's lines that a filter lets through, as far as they have been looked at."""

    def __init__(self, feed: LogFeed, wanted: LogFilter) -> None:
        super().__init__(feed)
        self._filter = wanted
        self._above: Level | None = None
        """Level of the last line that had one of its own: lines that are indented below it share it"""
        self.scan = Scan(feed, self._wants)
        self.folded = wanted.pattern is None

    @property
    def end(self) -> int:
        return self.scan.next

    @property
    def count(self) -> int:
        return self.scan.count

    def as_of_now(self) -> "FilteredLines":
        other = copy(self)
        other.scan = self.scan.copy()
        return other

    def _wants(self, line: LogLine) -> bool:
        if line.kind is LineKind.GAP:
            return True  # what is missing might have been let through
        if self._filter.level is not None:
            level = level_of(line)
            if level is not None or not continues(line):
                self._above = level
            if (self._above or Level.INFO) < self._filter.level:
                return False
        pattern = self._filter.pattern
        return pattern is None or (pattern.search(line.text) is None) is self._filter.inverted

    def lines(self, start: int, stop: int) -> Sequence[LogLine]:
        seqs = self.scan.among(start, stop)
        if len(seqs) * _FEW < stop - start:
            return self._of(seqs)
        wanted = set(seqs)
        return [line for line in self.feed.lines(start, stop) if line.seq in wanted]

    def from_on(self, seq: int, count: int) -> Sequence[LogLine]:
        return self._of(self.scan.from_on(seq, count))

    def up_to(self, seq: int, count: int) -> Sequence[LogLine]:
        return self._of(self.scan.up_to(seq, count))

    def below(self, seq: int) -> int:
        return self.scan.below(seq)

    def _of(self, seqs: Sequence[int]) -> list[LogLine]:
        return [line for seq in seqs for line in self.feed.lines(seq, seq + 1)]
