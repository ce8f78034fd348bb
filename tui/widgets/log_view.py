"""The log that the operator works with: what is sought in it, left out of it, and jumped to."""

import re
import time
from typing import TYPE_CHECKING

from engine.api import LogFeed
from engine.log_line import LogMark, MarkKind
from tui.widgets.log_filter import LogFilter
from tui.widgets.log_marking import LogMarking
from tui.widgets.log_pattern import TooSlow

if TYPE_CHECKING:
    from textual.timer import Timer

SCAN_INTERVAL_S = 0.012
TELL_INTERVAL_S = 0.2
"""Between two counts that are shown while a search or a filter goes on"""


class LogView(LogMarking):
    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._told_at = 0.0
        self._jump = 0
        """Direction of a jump that waits for the search to have seen all lines"""
        self._scan: Timer | None = None

    def on_mount(self) -> None:
        self._scan = self.set_interval(SCAN_INTERVAL_S, self._advance, pause=True)

    def show_feed(self, feed: LogFeed | None) -> None:
        """Begins with another log: at its end, following it, the whole of it."""
        self._anchor, self._pressed, self._jump = None, None, 0
        self._begin(feed)
        self._redraw()

    def feed_changed(self) -> None:
        if self._finder:
            self._finder.look_again()
            self._resume()
        super().feed_changed()

    def _resume(self) -> None:
        if self._scan and self._finder and (self._finder.search or self._finder.filter):
            self._scan.resume()

    def _advance(self) -> None:
        """A slice of what is sought."""
        finder = self._finder
        if not finder or not self._scan:
            return
        before, count = finder.lines, finder.lines.count
        try:
            complete = not finder.advance()
        except TooSlow:
            complete = False
            self.post_message(self.PatternRefused())
        if finder.lines is not before:
            self._keep_place(lambda: None)
        elif finder.lines.count != count and not self.paused:
            self._relayout()
        if complete:
            self._scan.pause()
            if self._jump:
                self.find(self._jump)
        if complete or time.monotonic() - self._told_at > TELL_INTERVAL_S:
            self._told_at = time.monotonic()
            self.post_message(self.Changed())

    # Searching

    def search(self, pattern: re.Pattern[str] | None) -> None:
        """Marks what matches, and begins to count; None ends the search."""
        self._jump = 0
        if self._finder:
            self._finder.set_search(pattern)
            self._resume()
        if not pattern:
            self.selected = None
        self.refresh()
        self.post_message(self.Changed())

    @property
    def found(self) -> tuple[int, int | None, bool] | None:
        """How many lines match, which of them is selected (from 1), and whether all lines were looked at."""
        search = self._finder.search if self._finder else None
        if not search:
            return None
        position = None if self.selected is None else search.position(self.selected)
        return search.count, position, search.complete

    def find(self, direction: int) -> None:
        """Goes to the next match below (1) or above (-1), as soon as all lines were looked at."""
        search = self._finder.search if self._finder else None
        if not search or not self._shown:
            return
        if not search.complete:
            self._jump = direction
            return
        self._jump = 0
        match = search.after(self._from_above) if direction > 0 else search.before(self._from_below)
        if match is not None:
            self._select(match)

    @property
    def _from_above(self) -> int:
        """Where it is sought on from, downwards."""
        return self._shown[0].line.seq - 1 if self.selected is None else self.selected

    @property
    def _from_below(self) -> int:
        return self._shown[-1].item.last + 1 if self.selected is None else self.selected

    def _select(self, seq: int) -> None:
        """Unfolds it, too, unless it is what a fold begins with."""
        self._anchor, self.selected = None, seq
        if layout := self._layout_rows:
            start = layout.fold_start(seq)
            if start < seq:
                self._folds.open(start)
                self._relayout()
        self._reveal(seq, above=self.size.height // 3)

    # Filtering

    @property
    def filter(self) -> LogFilter:
        return self._finder.filter if self._finder else LogFilter()

    @property
    def filtering(self) -> bool:
        """A new filter is being made, and the old one is still shown."""
        return self._finder is not None and self._finder.filtering

    def set_filter(self, wanted: LogFilter) -> None:
        """Shows only what it lets through, as soon as all lines were looked at, and stays at the same place."""
        if finder := self._finder:
            self._keep_place(lambda: finder.set_filter(wanted))
            self._resume()

    # Jumping

    def jump(self, kind: MarkKind, direction: int) -> LogMark | None:
        """Goes to the next mark below (1), above (-1), or to the first of all (0); None when there is none."""
        marks = [mark for mark in self._feed.marks if mark.kind is kind] if self._feed and self._shown else []
        if direction > 0:
            marks = [mark for mark in marks if mark.seq > self._from_above]
        elif direction < 0:
            marks = [mark for mark in marks if mark.seq < self._from_below][-1:]
        if not marks:
            return None
        self._select(marks[0].seq)
        return marks[0]

    def shows(self, seq: int) -> bool:
        """The filter lets it through."""
        return bool(self.lines and self.lines.lines(seq, seq + 1))
