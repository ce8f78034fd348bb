"""Which part of which line is on each row of the screen. Nothing is computed but what is seen."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells

from engine.log_line import Level, LineKind, LogLine
from tui.widgets.log_filter import AllLines
from tui.widgets.log_folds import Folds, foldable, joins, title
from tui.widgets.log_look import continues, level_of

_BATCH = 64
_CONTINUED = 16
"""Lines above one that is indented, among which is the one that it continues"""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A row of the whole log: of line `seq`, its row `index`. Stays true while lines come and go elsewhere."""

    seq: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """A line, or the lines that are folded into one row."""

    line: LogLine
    last: int
    """Number of the last line that it stands for"""
    text: str
    level: Level | None = None
    """Its own, or of the line that it continues"""
    opened: bool = False
    """It begins a fold that is open"""

    @property
    def folded(self) -> bool:
        return self.last != self.line.seq


@dataclass(frozen=True, slots=True)
class Row:
    item: Item
    index: int
    """Which row of its item; 0 unless wrapped"""
    start: int
    """First character of the text on this row"""
    stop: int

    @property
    def line(self) -> LogLine:
        return self.item.line

    @property
    def place(self) -> Place:
        return Place(self.line.seq, self.index)

    @property
    def reach(self) -> Place:
        """The last place that it stands for."""
        return Place(self.item.last) if self.item.folded else self.place


class RowLayout:
    """Rows of a log at one width. The oldest line has one before it that tells how many were dropped."""

    def __init__(self, lines: AllLines, width: int, *, wrap: bool, folds: Folds) -> None:
        self._lines = lines
        self._width = max(1, width)
        self._wrap = wrap
        self._folds = folds

    @property
    def top(self) -> Place:
        first = self._lines.first
        return Place(first - 1 if first else 0)

    def down(self, place: Place, count: int) -> list[Row]:
        """At most `count` rows from `place` on."""
        rows: list[Row] = []
        for item in self.items_from(place.seq):
            rows += [row for row in self._rows(item) if row.reach >= place]
            if len(rows) >= count:
                break
        return rows[:count]

    def up(self, place: Place, count: int) -> list[Row]:
        """At most `count` rows that end just before `place`."""
        rows: list[Row] = []
        start = self.fold_start(place.seq)
        for item in self.items_from(start):
            if item.line.seq > place.seq:
                break
            rows += [row for row in self._rows(item) if row.reach < place]
        for item in self.items_before(start):
            if len(rows) >= count:
                break
            rows = self._rows(item) + rows
        return rows[max(0, len(rows) - count) :]

    def last(self, count: int) -> list[Row]:
        return self.up(Place(self._lines.end), count)

    def item(self, seq: int) -> Item | None:
        """The one that the line is in, or the next."""
        return next((item for item in self.items_from(seq) if item.last >= seq), None)

    def items_from(self, seq: int) -> Iterator[Item]:
        """From the beginning of the fold that the line is in, if it is in one."""
        if seq < self._lines.first:
            yield self._notice()
        at = self.fold_start(seq)
        group: list[LogLine] = []
        while batch := self._lines.from_on(at, _BATCH):
            for line in batch:
                if group and not self._joins(group[-1], line):
                    yield from self._items(group)
                    group = []
                group.append(line)
            at = batch[-1].seq + 1
        if group:
            yield from self._items(group)

    def items_before(self, seq: int) -> Iterator[Item]:
        """Upwards, from right above the fold that the line is in, or the line."""
        at = self.fold_start(seq)
        group: list[LogLine] = []
        while batch := self._lines.up_to(at, _BATCH):
            for line in reversed(batch):
                if group and not self._joins(line, group[-1]):
                    yield from reversed(self._items(group[::-1]))
                    group = []
                group.append(line)
            at = batch[0].seq
        if group:
            yield from reversed(self._items(group[::-1]))
        if self._lines.first and seq >= self._lines.first:
            yield self._notice()

    def fold_start(self, seq: int) -> int:
        """Number of the line that begins the fold which the line is in; its own when it is in none."""
        line = next(iter(self._lines.from_on(seq, 1)), None)
        if not line or line.seq != seq:
            return seq
        while batch := self._lines.up_to(line.seq, _BATCH):
            for above in reversed(batch):
                if not self._joins(above, line):
                    return line.seq
                line = above
        return line.seq

    def _joins(self, line: LogLine, below: LogLine) -> bool:
        return self._lines.folded and joins(line, below)

    def _items(self, group: list[LogLine]) -> list[Item]:
        first = group[0]
        if foldable(group) and not self._folds.is_open(first.seq):
            return [Item(first, group[-1].seq, title(group), level_of(first))]
        opened = foldable(group)
        return [Item(line, line.seq, line.text, self._level(line), opened=opened and line is first) for line in group]

    def _level(self, line: LogLine) -> Level | None:
        level = level_of(line)
        if level is None and continues(line):
            above = self._lines.up_to(line.seq, _CONTINUED)
            begun = next((line for line in reversed(above) if not continues(line)), None)
            level = level_of(begun) if begun else None
        return level

    def _notice(self) -> Item:
        dropped = self._lines.first
        line = LogLine(dropped - 1, "", f"{dropped:,} older lines dropped", kind=LineKind.GAP)
        return Item(line, line.seq, line.text)

    def _rows(self, item: Item) -> list[Row]:
        text = item.text
        if not self._wrap or item.line.kind is LineKind.GAP or cell_len(text) <= self._width:
            return [Row(item, 0, 0, len(text))]
        return list(_wrapped(item, chop_cells(text, self._width)))


def _wrapped(item: Item, pieces: Iterable[str]) -> Iterator[Row]:
    start = 0
    for index, piece in enumerate(pieces):
        yield Row(item, index, start, start + len(piece))
        start += len(piece)
