"""A part of a log on the screen: only the rows that are seen are looked at, and only those that changed are drawn."""

import re
from collections.abc import Callable
from typing import ClassVar, Literal

from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from engine.api import LogFeed
from tui.widgets.log_filter import AllLines
from tui.widgets.log_finder import Finder
from tui.widgets.log_folds import Folds
from tui.widgets.log_paint import GUTTER, PARTS, Painter
from tui.widgets.log_pattern import TooSlow
from tui.widgets.log_rows import Place, Row, RowLayout
from tui.widgets.log_times import RunClock, Times

SIDE_CELLS = 16


class LogWindow(Widget, can_focus=True):
    """Shows a feed and holds no copy of it. Its place in the log is a line's number, so that what is read stays put
    while lines are added below and dropped above."""

    DEFAULT_CSS = """
    LogWindow {
        height: 1fr; width: 1fr;
        & > .logview--time { color: $foreground 60%; }
        & > .logview--gap { color: $text-warning; }
        & > .logview--muted { color: $foreground 55%; }
        & > .logview--text { color: $foreground; }
        & > .logview--debug { color: $foreground 60%; }
        & > .logview--warning { color: $text-warning; }
        & > .logview--error { color: $text-error; }
        & > .logview--match { text-style: reverse; }
        & > .logview--selected { background: $boost; text-style: bold; }
        & > .logview--red { color: $text-error; }
        & > .logview--green { color: $text-success; }
        & > .logview--yellow { color: $text-warning; }
        & > .logview--blue { color: $text-primary; }
        & > .logview--magenta { color: $text-accent; }
        & > .logview--cyan { color: $text-secondary; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"logview--{part}" for part in PARTS}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "rows(-1)", "up", show=False, id="log.up", tooltip="Scroll up by a line"),
        Binding("down,j", "rows(1)", "down", show=False, id="log.down", tooltip="Scroll down by a line"),
        Binding("pageup,b", "pages(-1)", "page up", show=False, id="log.page_up", tooltip="Scroll up by a page"),
        Binding("pagedown", "pages(1)", "page down", show=False, id="log.page_down", tooltip="Scroll down by a page"),
        Binding("left", "sideways(-1)", "left", show=False, id="log.left", tooltip="See what is further left"),
        Binding("right", "sideways(1)", "right", show=False, id="log.right", tooltip="See what is further right"),
    ]
    ALLOW_SELECT = False

    placeholder = reactive("")
    """Shown while there are no lines"""

    class Changed(Message):
        """What a status line says about this view may have changed."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LogWindow.Changed)

    class PatternRefused(Message):
        """It takes too long, and was given up."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.follow = True
        """The end is shown as it comes"""
        self.paused = False
        """What is shown stays, whatever comes"""
        self.wrap = False
        self.times = Times.NONE
        self.selected: int | None = None
        """Number of the line that was found, jumped to or clicked; while lines are marked, where the mark ends"""
        self._feed: LogFeed | None = None
        self._finder: Finder | None = None
        self._clock: RunClock | None = None
        self._folds = Folds()
        self._top = Place(0)
        self._column = 0
        self._shown: list[Row] = []
        self._painter: Painter | None = None
        """For the styles, the log and the times that it was made for"""

    # What is shown

    def _begin(self, feed: LogFeed | None) -> None:
        """Shows another log, at its end, following it."""
        self._feed = feed
        self._finder = Finder(feed) if feed else None
        self._clock = RunClock(feed) if feed else None
        self._painter = None
        self._folds = Folds()
        self._top, self._column, self.selected = Place(0), 0, None
        self.follow, self.paused = True, False

    def feed_changed(self) -> None:
        """More lines may have come, or older ones gone."""
        if self._clock and (self.times is Times.RELATIVE or not self._clock.knows):
            self._clock.look()
        if not self.paused:
            self._relayout()
        self.post_message(self.Changed())

    @property
    def behind(self) -> int:
        """Lines below the last one that is shown."""
        return self._finder.lines.below(self._shown[-1].item.last) if self._finder and self._shown else 0

    @property
    def lines(self) -> AllLines | None:
        """Those that are shown, on the screen or beyond it."""
        return self._finder.lines if self._finder else None

    @property
    def marked(self) -> tuple[int, int] | None:
        """Numbers of the first and the last line that are selected."""
        return None if self.selected is None else (self.selected, self.selected)

    @property
    def pattern(self) -> re.Pattern[str] | None:
        """What is searched for."""
        return self._finder.search.pattern if self._finder and self._finder.search else None

    @property
    def _layout_rows(self) -> RowLayout | None:
        if not self._finder:
            return None
        room = self.size.width - self.times.cells - GUTTER
        return RowLayout(self._finder.lines, room, wrap=self.wrap, folds=self._folds)

    def _relayout(self) -> None:
        """Finds out what each row shows now, and has those drawn that differ."""
        height = self.size.height
        rows: list[Row] = []
        if (layout := self._layout_rows) and height > 0:
            rows = [] if self.follow else layout.down(self._top, height)
            if len(rows) < height:
                rows = layout.last(height)
            if rows:
                self._top = rows[0].place
        before, self._shown = self._shown, rows
        if not before or not rows:
            self.refresh()
            return
        for y in range(max(len(before), len(rows))):
            if y >= len(before) or y >= len(rows) or before[y] != rows[y]:
                self.refresh(Region(0, y, self.size.width, 1))

    def _redraw(self) -> None:
        self._relayout()
        self.refresh()
        self.post_message(self.Changed())

    def _keep_place(self, change: Callable[[], object]) -> None:
        """After the change the line that is looked at, or the next, is on the same row as before."""
        rows = self._shown
        y = next((y for y, row in enumerate(rows) if row.line.seq == self.selected), 0)
        seq = rows[y].line.seq if rows else 0
        change()
        if (layout := self._layout_rows) and rows and not self.follow:
            item = layout.item(seq)
            place = Place(item.line.seq if item else seq)
            above = layout.up(place, y)
            self._top = above[0].place if above else place
        self._redraw()

    def on_resize(self) -> None:
        self._redraw()

    def toggle(self, flag: Literal["follow", "paused", "wrap"]) -> None:
        setattr(self, flag, not getattr(self, flag))
        if self.wrap:
            self._column = 0
        self._redraw()

    def next_times(self) -> None:
        """The next way to show times: none, local, UTC, since the run began."""
        self.times = self.times.next
        self._painter = None
        if self._clock:
            self._clock.look()
        self._redraw()

    # Moving about

    def action_rows(self, count: int) -> None:
        layout = self._layout_rows
        if not layout or not self._shown:
            return
        if count < 0:
            above = layout.up(self._shown[0].place, -count)
            if above:
                self._go(above[0].place)
        else:
            below = layout.down(self._shown[0].place, count + 1)
            self._go(below[-1].place, to_end=True)

    def action_pages(self, count: int) -> None:
        self.action_rows(count * max(1, self.size.height - 1))

    def action_sideways(self, count: int) -> None:
        if not self.wrap:
            self._column = max(0, self._column + count * SIDE_CELLS)
            self.refresh()

    def go_top(self) -> None:
        if layout := self._layout_rows:
            self._go(layout.top)

    def go_end(self) -> None:
        self.follow, self.paused = True, False
        self._redraw()

    def _go(self, place: Place, *, to_end: bool = False) -> None:
        """Shows `place` on the first row. Coming down to the end is following it again."""
        self.follow = False
        self._top = place
        self._relayout()
        if to_end and self.behind == 0 and self._at_end:
            self.follow = True
        self.post_message(self.Changed())

    @property
    def _at_end(self) -> bool:
        return bool(self._shown) and self._shown[-1].stop == len(self._shown[-1].item.text)

    def _reveal(self, seq: int, *, above: int = 0) -> None:
        """Has the line on the screen: as it is, or with so many rows above it."""
        layout = self._layout_rows
        if not layout:
            return
        self.follow = False
        if not self._on_screen(seq):
            rows = layout.up(Place(seq), above)
            self._top = rows[0].place if rows else Place(seq)
        self._redraw()

    def _on_screen(self, seq: int) -> bool:
        return any(row.line.seq <= seq <= row.item.last for row in self._shown)

    # Drawing

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._painter = None

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if not self._shown or not self._clock:
            text = self.placeholder if y == self.size.height // 2 else ""
            return Strip([Segment(text.center(width), self.rich_style)]).crop(0, width)
        if y >= len(self._shown):
            return Strip.blank(width, self.rich_style)
        row = self._shown[y]
        first, last = self.marked or (0, -1)
        painter = self._painter = self._painter or Painter(self, self._clock, self.times)
        column = 0 if self.wrap else self._column
        selected = row.line.seq <= last and first <= row.item.last
        try:
            return painter.row(row, width, column, selected=selected, pattern=self.pattern)
        except TooSlow:
            if self._finder:
                self._finder.set_search(None)
            self.post_message(self.PatternRefused())
            return painter.row(row, width, column, selected=selected, pattern=None)
