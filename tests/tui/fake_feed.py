"""A log for the console, without an engine."""

from collections.abc import Sequence
from dataclasses import replace

from engine.freshness import Freshness
from engine.log_line import Level, LogLine, LogMark

LOGGED = "2027-01-15T08:00:00.000000000Z"
LEVELS = {"I": Level.INFO, "W": Level.WARNING, "E": Level.ERROR}

Logged = str | LogLine


def logged(text: str) -> LogLine:
    """A line with the level that Triton's have before them."""
    return LogLine(0, LOGGED, text, level=LEVELS.get(text[:1]))


class FakeFeed:
    """A log that has been read to its end."""

    def __init__(self, lines: Sequence[Logged]) -> None:
        told = [line if isinstance(line, LogLine) else logged(line) for line in lines]
        self._lines = [replace(line, seq=seq) for seq, line in enumerate(told)]
        self.first, self.end = 0, len(self._lines)
        self.freshness, self.message = Freshness.FRESH, ""
        self.marks: Sequence[LogMark] = ()
        self.closed = False

    def line(self, seq: int) -> LogLine:
        return self._lines[seq]

    def lines(self, start: int, stop: int) -> Sequence[LogLine]:
        return self._lines[max(0, start) : stop]

    def close(self) -> None:
        self.closed = True
