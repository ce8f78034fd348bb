"""Which part of which line is on each row of the screen. Nothing is computed but what is seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

from engine.api import LogFeed
from engine.log_line import LogLine


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A row of the whole log: of line `seq`, its row `index`. Stays true while lines come and go elsewhere."""

    seq: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    line: LogLine
    index: int
    """Which row of its line; 0 unless wrapped"""
    start: int
    """First character of the line on this row"""
    stop: int

    @property
    def place(self) -> Place:
        return Place(self.line.seq, self.index)


class RowLayout:
    """Rows of a feed at one width. The oldest line has one before it that tells how many were dropped."""

    def __init__(self, feed: LogFeed, width: int, *, wrap: bool) -> None:
        self._feed = feed
        self._width = max(1, width)
        self._wrap = wrap

    @property
    def top(self) -> Place:
        first = self._feed.first
        return Place(first - 1 if first else 0)

    def down(self, place: Place, count: int) -> list[Row]:
        """At most `count` rows from `place` on."""
        place = max(place, self.top)
        rows: list[Row] = []
        for line in self._lines(place.seq, place.seq + count):
            rows += [row for row in self._rows(line) if row.place >= place]
            if len(rows) >= count:
                break
        return rows[:count]

    def up(self, place: Place, count: int) -> list[Row]:
        """At most `count` rows that end just before `place`."""
        rows: list[Row] = []
        for line in reversed(self._lines(place.seq - count, place.seq + 1)):
            rows = [row for row in self._rows(line) if row.place < place] + rows
            if len(rows) >= count:
                break
        return rows[max(0, len(rows) - count) :]

    def last(self, count: int) -> list[Row]:
        return self.up(Place(self._feed.end), count)

    def _lines(self, start: int, stop: int) -> Sequence[LogLine]:
        lines = self._feed.lines(max(0, start), stop)
        first = lines[0].seq if lines else self._feed.first
        if first and start < first <= self._feed.first:
            notice = LogLine(first - 1, "", f"▲ {first:,} older lines dropped")
            return [notice, *lines]
        return lines

    def _rows(self, line: LogLine) -> list[Row]:
        if not self._wrap or cell_len(line.text) <= self._width:
            return [Row(line, 0, 0, len(line.text))]
        rows: list[Row] = []
        start = 0
        for index, piece in enumerate(chop_cells(line.text, self._width)):
            rows.append(Row(line, index, start, start + len(piece)))
            start += len(piece)
        return rows
