"""A log on the screen: only the rows that are seen are looked at, and only those that changed are drawn."""

import re
import time
from collections.abc import Iterator
from typing import ClassVar, Literal

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive
from textual.strip import Strip
from textual.widget import Widget

from engine.api import LogFeed
from tui.widgets.log_look import level, local_time
from tui.widgets.log_rows import Place, Row, RowLayout
from tui.widgets.log_search import LogSearch

TIME_CELLS = 13
"""HH:MM:SS.mmm and a space"""
SCAN_INTERVAL_S = 0.012
COUNT_INTERVAL_S = 0.2
"""Between two counts of matches that are shown while a search goes on"""
WHEEL_ROWS = 3
SIDE_CELLS = 16


class LogView(Widget, can_focus=True):
    """Shows a feed and holds no copy of it. Its place in the log is a line's number, so that what is read stays put
    while lines are added below and dropped above."""

    DEFAULT_CSS = """
    LogView { height: 1fr; width: 1fr; }
    LogView > .logview--time { color: $foreground 60%; }
    LogView > .logview--notice { color: $foreground 60%; text-style: italic; }
    LogView > .logview--debug { color: $foreground 60%; }
    LogView > .logview--warning { color: $text-warning; }
    LogView > .logview--error { color: $text-error; text-style: bold; }
    LogView > .logview--match { text-style: reverse; }
    LogView > .logview--selected { background: $surface-lighten-2; text-style: bold; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "logview--time",
        "logview--notice",
        "logview--debug",
        "logview--warning",
        "logview--error",
        "logview--match",
        "logview--selected",
    }
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

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.follow = True
        """The end is shown as it comes"""
        self.paused = False
        """What is shown stays, whatever comes"""
        self.wrap = False
        self.timestamps = False
        self._feed: LogFeed | None = None
        self._top = Place(0)
        self._column = 0
        self._shown: list[Row] = []
        self._search: LogSearch | None = None
        self._counted_at = 0.0
        self._jump = 0
        """Direction of a jump that waits for the search to have seen all lines"""
        self.selected: int | None = None
        """Number of the line that was found or clicked"""

    def on_mount(self) -> None:
        self._scan = self.set_interval(SCAN_INTERVAL_S, self._advance_search, pause=True)

    # What is shown

    def show_feed(self, feed: LogFeed | None) -> None:
        """Begins with another log: at its end, following it, and searching it for the same pattern."""
        pattern = self._search.pattern if self._search else None
        self._feed = feed
        self._top, self._column, self.selected = Place(0), 0, None
        self.search(pattern)
        self.follow, self.paused = True, False
        self._relayout()

    def feed_changed(self) -> None:
        """More lines may have come, or older ones gone."""
        if self._search:
            self._search.look_again_at_last()
            self._scan.resume()
        if not self.paused:
            self._relayout()
        self.post_message(self.Changed())

    @property
    def behind(self) -> int:
        """Lines below the last one that is shown."""
        if not self._feed:
            return 0
        return max(0, self._feed.end - 1 - self._shown[-1].line.seq) if self._shown else 0

    @property
    def _rows(self) -> RowLayout | None:
        if not self._feed:
            return None
        return RowLayout(self._feed, self.size.width - self._time_cells, wrap=self.wrap)

    @property
    def _time_cells(self) -> int:
        return TIME_CELLS if self.timestamps else 0

    def _relayout(self) -> None:
        """Finds out what each row shows now, and has those drawn that differ."""
        height = self.size.height
        rows: list[Row] = []
        if (layout := self._rows) and height > 0:
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

    def on_resize(self) -> None:
        self._redraw()

    def toggle(self, flag: Literal["follow", "paused", "wrap", "timestamps"]) -> None:
        setattr(self, flag, not getattr(self, flag))
        if self.wrap:
            self._column = 0
        self._redraw()

    # Moving about

    def action_rows(self, count: int) -> None:
        layout = self._rows
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
        if layout := self._rows:
            self._go(layout.top)

    def go_end(self) -> None:
        self.follow, self.paused = True, False
        self._redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.action_rows(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.action_rows(WHEEL_ROWS)

    def on_click(self, event: events.Click) -> None:
        y = event.get_content_offset_capture(self).y
        if 0 <= y < len(self._shown):
            seq = self._shown[y].line.seq
            self.selected = None if self.selected == seq else seq
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
        return bool(self._shown) and self._shown[-1].stop == len(self._shown[-1].line.text)

    # Searching

    def search(self, pattern: re.Pattern[str] | None) -> None:
        """Marks what matches, and begins to count; None ends the search."""
        self._jump = 0
        self._search = LogSearch(self._feed, pattern) if self._feed and pattern else None
        if self._search:
            self._scan.resume()
        else:
            self._scan.pause()
            self.selected = None
        self.refresh()
        self.post_message(self.Changed())

    @property
    def found(self) -> tuple[int, int | None, bool] | None:
        """How many lines match, which of them is selected (from 1), and whether all lines were looked at."""
        if not self._search:
            return None
        position = None if self.selected is None else self._search.position(self.selected)
        return self._search.count, position, self._search.complete

    def find(self, direction: int) -> None:
        """Goes to the next match below (1) or above (-1), as soon as all lines were looked at."""
        if not self._search or not self._feed or not self._shown:
            return
        if not self._search.complete:
            self._jump = direction
            return
        self._jump = 0
        if direction > 0:
            start = self._shown[0].line.seq - 1 if self.selected is None else self.selected
            match = self._search.after(start)
        else:
            start = self._shown[-1].line.seq + 1 if self.selected is None else self.selected
            match = self._search.before(start)
        if match is not None:
            self._select(match)

    def _select(self, seq: int) -> None:
        self.selected = seq
        layout = self._rows
        if layout and seq not in [row.line.seq for row in self._shown]:
            above = layout.up(Place(seq), self.size.height // 3)
            self._go(above[0].place if above else Place(seq))
        else:
            self.follow = False
        self.refresh()
        self.post_message(self.Changed())

    def _advance_search(self) -> None:
        complete = not self._search or not self._search.advance()
        if complete:
            self._scan.pause()
            if self._jump:
                self.find(self._jump)
        if complete or time.monotonic() - self._counted_at > COUNT_INTERVAL_S:
            self._counted_at = time.monotonic()
            self.post_message(self.Changed())

    def copied(self) -> list[str]:
        """The selected line, or all that are on the screen."""
        lines = list(dict.fromkeys(row.line for row in self._shown))
        if self._feed and self.selected is not None and (chosen := self._feed.lines(self.selected, self.selected + 1)):
            lines = [*chosen]
        return [line.text for line in lines]

    # Drawing

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        width = self.size.width
        if not self._shown:
            text = self.placeholder if y == self.size.height // 2 else ""
            return Strip([Segment(text.center(width), base)]).crop(0, width)
        if y >= len(self._shown):
            return Strip.blank(width, base)
        row = self._shown[y]
        style = Style.combine([base, *self._line_styles(row)])
        strip = Strip(self._segments(row, style))
        room = width - self._time_cells
        if not self.wrap and self._column:
            strip = strip.crop(self._column, self._column + room)
        strip = strip.adjust_cell_length(room, style)
        if self._time_cells:
            clock = local_time(row.line.time) if row.index == 0 else ""
            muted = base + self.get_component_rich_style("logview--time")
            strip = Strip([Segment(clock.ljust(TIME_CELLS), muted), *strip])
        return strip

    def _line_styles(self, row: Row) -> list[Style]:
        names = ["selected"] if row.line.seq == self.selected else []
        if self._feed and row.line.seq < self._feed.first and not row.line.time:
            names = ["notice"]
        elif kind := level(row.line.text):
            names.insert(0, kind)
        return [self.get_component_rich_style(f"logview--{name}", partial=name == "selected") for name in names]

    def _segments(self, row: Row, style: Style) -> Iterator[Segment]:
        """The row's text, cut where a match begins or ends."""
        text, at = row.line.text, row.start
        if self._search:
            marked = style + self.get_component_rich_style("logview--match", partial=True)
            for match in self._search.pattern.finditer(text):
                start, stop = max(at, match.start()), min(row.stop, match.end())
                if start < stop:
                    yield Segment(text[at:start], style)
                    yield Segment(text[start:stop], marked)
                    at = stop
        yield Segment(text[at : row.stop], style)
