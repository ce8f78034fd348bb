"""Draws one row of a log: its time, its level, and its text with what is marked in it."""

import re

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.strip import Strip
from textual.widget import Widget

from engine.log_line import Level, LineKind
from tui.widgets.ink import ink
from tui.widgets.log_look import HUES, LETTERS, NAMES, level_of, message_start, style_of
from tui.widgets.log_pattern import spans
from tui.widgets.log_rows import Row
from tui.widgets.log_times import RunClock, Times

GUTTER = 2
"""Cells for the level and for what marks the row"""
MOST_MATCHES = 300
"""Marked on one line"""
PARTS = (
    *("time", "gap", "muted", "text", "debug", "warning", "error", "match", "selected"),
    *HUES,
)


class Painter:
    """For one widget, in its styles as they are now: component classes `logview--…`."""

    def __init__(self, widget: Widget, clock: RunClock, times: Times) -> None:
        self._widget = widget
        self._clock = clock
        self._times = times
        self._base = widget.rich_style
        self._selected = self._part("selected")
        self._inks: dict[str, Style] = {}

    def _part(self, name: str) -> Style:
        return self._widget.get_component_rich_style(f"logview--{name}", partial=True)

    def _ink(self, name: str) -> Style:
        if name not in self._inks:
            self._inks[name] = ink(self._widget, f"logview--{name}")
        return self._inks[name]

    def row(self, row: Row, width: int, column: int, *, selected: bool, pattern: re.Pattern[str] | None) -> Strip:
        """`width` cells, the text from its cell `column` on. Raises `TooSlow` when the pattern is."""
        base = self._base + self._selected if selected else self._base
        if row.line.kind is LineKind.GAP:
            return self._gap(row, width, base)
        cells = self._times.cells
        time = self._clock.tell(row.line, self._times) if row.index == 0 else ""
        room = max(0, width - cells - GUTTER)
        text = Strip(self._text(row, base, pattern).render(self._widget.app.console))
        if column:
            text = text.crop(column, column + room)
        text = text.adjust_cell_length(room, base)
        before = [Segment(time.ljust(cells), self._base + self._ink("time"))] if cells else []
        return Strip([*before, *self._gutter(row, base, selected=selected), *text], width)

    def _gutter(self, row: Row, base: Style, *, selected: bool) -> list[Segment]:
        own = row.index == 0 and row.line.kind is not LineKind.FRAME
        level = level_of(row.line) if own else None
        letter = LETTERS.get(level, " ") if level else " "
        style = base + self._ink(NAMES[level]) + Style(bold=True) if level in NAMES else base
        sign = "▌" if selected else "▾" if row.item.opened and row.index == 0 else " "
        return [Segment(letter, style), Segment(sign, base + self._ink("time"))]

    def _gap(self, row: Row, width: int, base: Style) -> Strip:
        text = f"╌╌╌ {row.item.text} "
        text += "╌" * max(0, width - cell_len(text))
        return Strip([Segment(text, base + self._ink("gap"))]).adjust_cell_length(width, base)

    def _text(self, row: Row, base: Style, pattern: re.Pattern[str] | None) -> Text:
        line, whole = row.line, row.item.text
        text = Text(whole)
        text.stylize(base + self._ink(self._tone(row)))
        if not row.item.folded:
            hues = {name: self._ink(name) for name in HUES} if line.styled else {}
            for styled in line.styled:
                text.stylize(self._writer_style(styled.style, hues), styled.start, styled.end)
        text.stylize(self._ink("muted") + Style(bold=False), 0, message_start(whole))
        if pattern and not row.item.folded:
            for start, end in spans(pattern, whole, MOST_MATCHES):
                text.stylize(self._part("match"), start, end)
        return text[row.start : row.stop] if row.start or row.stop < len(whole) else text

    def _writer_style(self, wanted: str, hues: dict[str, Style]) -> Style:
        triplet = self._base.bgcolor.get_truecolor() if self._base.bgcolor else None
        background = Color(*triplet) if triplet else Color(0, 0, 0)
        return style_of(wanted, hues, background)

    def _tone(self, row: Row) -> str:
        line = row.line
        if line.kind in (LineKind.FRAME, LineKind.BANNER) or (row.item.folded and row.item.level is None):
            return "muted"
        return NAMES.get(row.item.level or Level.INFO, "text")
