"""The GPUs of this machine; its CPU and memory where there are none."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.freshness import Freshness
from tui.widgets import gpu_words as words
from tui.widgets.glyphs import terminal_is_plain
from tui.widgets.gpu_lines import Line, draw

if TYPE_CHECKING:  # the first paint needs none of them
    from textual.events import Resize

    from engine.gpu_reading import GpuReading
    from engine.snapshot import Model

OPENED_BY = "ctrl+g"
"""The key to all that is known of them"""


class GpuPanel(ScrollView, can_focus=False):
    """Shows a `GpuReading`. Only cells whose text or look changed are painted again. Takes the keys only when there is
    something to scroll to."""

    COMPONENT_CLASSES = {
        "gpu-panel--text",
        "gpu-panel--dim",
        "gpu-panel--bar",
        "gpu-panel--others",
        "gpu-panel--mine",
        "gpu-panel--spark",
        "gpu-panel--warning",
        "gpu-panel--error",
    }
    DEFAULT_CSS = """
    GpuPanel {
        border: round $border-blurred;
        border-title-color: $text-muted;
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        & > .gpu-panel--text { color: $foreground; }
        & > .gpu-panel--dim { color: $text-muted; }
        & > .gpu-panel--bar { color: $primary 60%; }
        & > .gpu-panel--others { color: $secondary 70%; }
        & > .gpu-panel--mine { color: $text-accent; text-style: bold; }
        & > .gpu-panel--spark { color: $secondary; }
        & > .gpu-panel--warning { color: $text-warning; }
        & > .gpu-panel--error { color: $text-error; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = terminal_is_plain()
        self._reading: GpuReading | None = None
        self._mine: tuple[int, ...] = ()
        self._lines: list[Line] = []
        self.border_title = "GPUs"

    def show(self, reading: GpuReading | None, selected: Model | None = None) -> None:
        """None: nothing has been read yet. The GPUs of the `selected` model are marked."""
        self._reading = reading
        gpus = reading.gpus if reading else ()
        self._mine = tuple(gpu.index for gpu in gpus if words.of_model(gpu, selected))
        title = _title(reading)
        if title != self.border_title:
            self.border_title = title
        if self.is_mounted:
            self._update()

    def on_resize(self, _: Resize) -> None:
        self._update()

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        pieces = self._lines[index] if index < len(self._lines) else ()
        strip = Strip([Segment(text, self.get_component_rich_style(f"gpu-panel--{look}")) for text, look in pieces])
        return strip.adjust_cell_length(width, self.rich_style)

    def _update(self) -> None:
        size = self.scrollable_content_region.size
        lines = draw(self._reading, size.width, size.height, plain=self._plain, mine=self._mine)
        hidden = max(0, len(lines) - size.height)
        if self.can_focus != bool(hidden):
            self.can_focus = bool(hidden)
        subtitle = "more below" if hidden else _hinted(self._reading)
        if subtitle != self.border_subtitle:
            self.border_subtitle = subtitle
        if len(lines) != len(self._lines):
            self._lines = lines
            self.virtual_size = Size(size.width, len(lines))
            self.refresh()
            return
        before, self._lines = self._lines, lines
        top = self.scroll_offset.y
        changed = [
            Region(start, row - top, stop - start, 1)
            for row, (old, new) in enumerate(zip(before, lines, strict=True))
            for start, stop in changed_cells(old, new)
        ]
        if changed:
            self.refresh(*changed)


def changed_cells(old: Line, new: Line) -> list[tuple[int, int]]:
    """Ranges of cells in which two lines differ, to the piece."""
    ranges = []
    at = 0
    for index, (before, after) in enumerate(zip_longest(old, new)):
        if before is None or after is None or cell_len(before.text) != cell_len(after.text):
            width = sum(cell_len(piece.text) for piece in max((old[index:], new[index:]), key=_width))
            ranges.append((at, at + width))
            break
        if before != after:
            ranges.append((at, at + cell_len(after.text)))
        at += cell_len(after.text)
    return ranges


def _width(line: Line) -> int:
    return sum(cell_len(piece.text) for piece in line)


def _title(reading: GpuReading | None) -> str:
    if reading is None or not reading.gpus:
        return "Host" if reading and reading.host else "GPUs"
    by = words.source(reading.gpus)
    return f"GPUs{f', by {by}' if by else ''}{' (stale)' if reading.freshness is Freshness.STALE else ''}"


def _hinted(reading: GpuReading | None) -> str:
    hints = len(reading.hints) if reading else 0
    return f"▲ {hints} {'hint' if hints == 1 else 'hints'}: {OPENED_BY}" if hints else ""
