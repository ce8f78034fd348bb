"""Lines of a log that are selected, by keys or the mouse: to be copied, or unfolded."""

from itertools import islice

from textual import events

from tui.widgets.log_copy import gather
from tui.widgets.log_window import LogWindow

WHEEL_ROWS = 3


class LogMarking(LogWindow):
    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._anchor: int | None = None
        """Number of the line where the mark begins"""
        self._pressed: int | None = None
        """Number of the line on which the mouse button went down"""

    # Marking

    @property
    def marking(self) -> bool:
        """Moving extends the mark."""
        return self._anchor is not None

    @property
    def marked(self) -> tuple[int, int] | None:
        if self._anchor is None or self.selected is None:
            return super().marked
        return min(self._anchor, self.selected), max(self._anchor, self.selected)

    def mark(self) -> None:
        """Begins to mark at the selected line, if it is on the screen, or else at the end or the top of it; or ends."""
        if self.marking:
            self.end_mark()
        elif self._shown:
            if self.selected is None or not self._on_screen(self.selected):
                self.selected = self._shown[-1 if self.follow else 0].line.seq
            self._anchor = self.selected
            self.follow = False
            self._redraw()

    def end_mark(self) -> None:
        self._anchor = self.selected = None
        self._redraw()

    def action_rows(self, count: int) -> None:
        layout = self._layout_rows
        if not self.marking or self.selected is None or not layout:
            super().action_rows(count)
            return
        way = layout.items_from(self.selected) if count > 0 else layout.items_before(self.selected)
        passed = list(islice(way, count + 1 if count > 0 else -count))
        if passed:
            self._mark_to(passed[-1].line.seq)

    def go_top(self) -> None:
        if self.marking and self.lines:
            self._mark_to(self.lines.first)
        super().go_top()

    def go_end(self) -> None:
        if self.marking and self.lines:
            self._mark_to(self.lines.end - 1)
        else:
            super().go_end()

    def _mark_to(self, seq: int) -> None:
        upwards = bool(self._shown) and seq < self._shown[0].line.seq
        self.selected = seq
        self._reveal(seq, above=0 if upwards else self.size.height - 1)

    # The mouse

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        super().action_rows(-WHEEL_ROWS)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        super().action_rows(WHEEL_ROWS)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        if event.button == 1 and 0 <= event.y < len(self._shown):
            self._pressed = self._shown[event.y].line.seq
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        if self._pressed is None or not self._shown:
            return
        if not 0 <= event.y < self.size.height:  # beyond an edge there is more to mark
            super().action_rows(-1 if event.y < 0 else 1)
        seq = self._shown[max(0, min(event.y, len(self._shown) - 1))].line.seq
        if self._anchor is not None or seq != self._pressed:
            self._anchor, self.selected = self._pressed, seq
            self.follow = False
            self._redraw()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        self.release_mouse()
        pressed, self._pressed = self._pressed, None
        if pressed is None or (self._anchor is not None and pressed == self._anchor != self.selected):
            return
        self._anchor = None
        self.selected = None if self.selected == pressed else pressed
        row = next((row for row in self._shown if row.line.seq == pressed), None)
        if row and (row.item.folded or row.item.opened):
            self.selected = pressed
            self._keep_place(lambda: self._folds.toggle(pressed))
        self._redraw()

    # Folding

    def toggle_fold(self) -> bool:
        """Of the selected line or the next below it, or else the last on the screen; False when there is none."""
        layout = self._layout_rows
        heads = [row.line.seq for row in self._shown if row.item.folded or row.item.opened]
        if layout and self.selected is not None and self._on_screen(self.selected):
            head = layout.fold_start(self.selected)
            item = layout.item(head)
            below = [seq for seq in heads if seq > self.selected]
            heads = [head] if item and (item.folded or item.opened) else below[:1] or heads
        if not heads:
            return False
        self.selected = heads[-1]
        self._keep_place(lambda: self._folds.toggle(heads[-1]))
        return True

    def toggle_folds(self) -> bool:
        """True when all are open now."""
        self._keep_place(self._folds.toggle_all)
        return self._folds.all_open

    # Copying

    def copied(self) -> str | None:
        """The marked or selected lines with all that is folded in them, or those on the screen; None: too much."""
        layout, lines = self._layout_rows, self.lines
        if not layout or not lines or not self._shown:
            return ""
        first, last = self.marked or (self._shown[0].line.seq, self._shown[-1].line.seq)
        item = layout.item(last)
        return gather(lines, first, max(last, item.last if item and item.line.seq <= last else last) + 1)
