"""What of a log is shown, and what is sought in it: both found in slices, while the log goes on."""

import re

from engine.api import LogFeed
from tui.widgets.log_filter import AllLines, FilteredLines, LogFilter
from tui.widgets.log_pattern import TooSlow
from tui.widgets.log_search import LogSearch


class Finder:
    """`advance` is called until it has nothing to do; after `look_again` it may have."""

    def __init__(self, feed: LogFeed) -> None:
        self._feed = feed
        self.filter = LogFilter()
        self.lines = AllLines(feed)
        """Those that are shown; with a new filter, those of the old one until the whole log has been looked at"""
        self._coming: FilteredLines | None = None
        self._target = 0
        """Number of the line at which the new filter has seen enough to be shown"""
        self.search: LogSearch | None = None

    @property
    def filtering(self) -> bool:
        """A new filter is not shown yet."""
        return self._coming is not None

    def set_filter(self, wanted: LogFilter) -> None:
        self.filter = wanted
        self._coming = None
        if wanted:
            self._coming = FilteredLines(self._feed, wanted)
            self._target = self._feed.end
        else:
            self._show(AllLines(self._feed))

    def set_search(self, pattern: re.Pattern[str] | None) -> None:
        self.search = LogSearch(self.lines, pattern) if pattern else None

    def look_again(self) -> None:
        """There may be more lines, and the last one may have changed."""
        for filtered in (self._coming, self.lines):
            if isinstance(filtered, FilteredLines):
                filtered.scan.look_again_at_last()
        if self.search:
            self.search.look_again_at_last()

    def advance(self) -> bool:
        """Does a little. True when there is more to do. Raises `TooSlow`, and has given up what was."""
        more = False
        filtered = self._coming or self.lines
        if isinstance(filtered, FilteredLines):
            try:
                more = filtered.scan.advance()
            except TooSlow:
                self.set_filter(LogFilter(self.filter.level))
                raise
        if self._coming and self._coming.end >= self._target:
            self._show(self._coming)
            self._coming = None
        if self.search:
            try:
                more |= self.search.advance()
            except TooSlow:
                self.search = None
                raise
        return more

    def _show(self, lines: AllLines) -> None:
        self.lines = lines
        self.set_search(self.search.pattern if self.search else None)
