"""The GPUs of this machine, a line each; its CPU and memory where there are none."""

import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from textual.events import Resize
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading, HostLoad
from tui.widgets.glyphs import UNKNOWN, bar, gib, sparkline, terminal_is_plain

HOT_CELSIUS = 85
BUSY_PERCENT = 100.0
SPARK_WIDTH = 8
BAR_WIDTH = 8
WIDE_BAR_WIDTH, WIDE_FROM = 12, 64
NARROWEST_LINE = 25
BETWEEN_COLUMNS = 3


class Piece(NamedTuple):
    """Text in one look; looks are the names of component classes without their prefix."""

    text: str
    look: str = "text"


Line = tuple[Piece, ...]


class GpuPanel(ScrollView, can_focus=False):
    """Shows a `GpuReading`. Only cells whose text or look changed are painted again. Takes the keys only when there is
    something to scroll to."""

    COMPONENT_CLASSES = {
        "gpu-panel--text",
        "gpu-panel--dim",
        "gpu-panel--bar",
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
        & > .gpu-panel--spark { color: $secondary; }
        & > .gpu-panel--warning { color: $text-warning; }
        & > .gpu-panel--error { color: $text-error; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._plain = terminal_is_plain()
        self._reading: GpuReading | None = None
        self._lines: list[Line] = []
        self.border_title = "GPUs"

    def show(self, reading: GpuReading | None) -> None:
        """None: nothing has been read yet."""
        self._reading = reading
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
        lines = draw(self._reading, size.width, size.height, plain=self._plain)
        hidden = max(0, len(lines) - size.height)
        if self.can_focus != bool(hidden):
            self.can_focus = bool(hidden)
            self.border_subtitle = "more below" if hidden else ""
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
    if reading is None or reading.gpus:
        marks = {Freshness.STALE: "GPUs (stale)"}
        return marks.get(reading.freshness, "GPUs") if reading else "GPUs"
    return "Host" if reading.host else "GPUs"


def draw(reading: GpuReading | None, width: int, height: int, *, plain: bool = False) -> list[Line]:
    """The panel's lines for a space of `width` by `height` cells; there may be more than `height`."""
    if reading is None or reading.freshness is Freshness.LOADING:
        return [(Piece("Reading the GPUs …", "dim"),)]
    if width <= 0:
        return []
    note_look = "dim" if reading.freshness is Freshness.NONE else "warning"
    note: list[Line] = [(Piece(line, note_look),) for line in textwrap.wrap(reading.message, width)]
    if reading.gpus:
        stale = reading.freshness is Freshness.STALE
        return [*note, *_gpu_lines(reading.gpus, width, height - len(note), dim=stale, plain=plain)]
    return [*(_host_lines(reading.host, width, plain=plain) if reading.host else ()), *note]


def _gpu_lines(gpus: Sequence[Gpu], width: int, height: int, *, dim: bool, plain: bool) -> list[Line]:
    half = (width - BETWEEN_COLUMNS) // 2
    if len(gpus) <= height or half < NARROWEST_LINE:
        return [_gpu_line(gpu, width, dim=dim, plain=plain) for gpu in gpus]
    lines = [_gpu_line(gpu, half, dim=dim, plain=plain) for gpu in gpus]
    rows = (len(lines) + 1) // 2
    gap = (Piece(" " * BETWEEN_COLUMNS),)
    return [(*left, *gap, *right) for left, right in zip_longest(lines[:rows], lines[rows:], fillvalue=())]


def _gpu_line(gpu: Gpu, width: int, *, dim: bool, plain: bool) -> Line:
    """The columns that fit, by importance; shown from left to right in their fixed order."""
    index = Piece(f"{gpu.index:>2}", "dim")
    if gpu.utilization is None and gpu.memory_used is None and gpu.error:
        return _fitted((index, Piece(f" {gpu.error}", "dim" if dim else "error")), width)
    look = "dim" if dim else "text"
    share = gpu.memory_used / gpu.memory_total if gpu.memory_used is not None and gpu.memory_total else 0.0
    hot = gpu.temperature is not None and gpu.temperature >= HOT_CELSIUS
    columns = (
        # order of importance, text, look
        (0, f"{_rounded(gpu.utilization):>4} %", look),
        (3, f" {sparkline(gpu.history, SPARK_WIDTH, BUSY_PERCENT, plain=plain)}", "dim" if dim else "spark"),
        (1, f"  {gib(gpu.memory_used):>5} / {gib(gpu.memory_total, 0):>3} GiB", look),
        (
            2,
            f" {bar(share, WIDE_BAR_WIDTH if width >= WIDE_FROM else BAR_WIDTH, plain=plain)}",
            "dim" if dim else "bar",
        ),
        (4, f"  {_rounded(gpu.temperature):>3} °C", "warning" if hot and not dim else look),
        (5, f"  {_rounded(gpu.power):>4} W", look),
        (6, f"  {gpu.name.removeprefix('NVIDIA ')}", "dim"),
    )
    room = width - cell_len(index.text)
    kept = set()
    for importance, text, _ in sorted(columns):
        if cell_len(text) > room:
            break
        kept.add(importance)
        room -= cell_len(text)
    pieces = (index, *(Piece(text, look) for importance, text, look in columns if importance in kept))
    return _fitted(pieces, width)


def _fitted(pieces: Line, width: int) -> Line:
    """Filled up to `width` cells, or its last piece cut."""
    *rest, last = pieces
    room = max(0, width - _width(tuple(rest)))
    if cell_len(last.text) > room:
        return (*rest, Piece(set_cell_size(f"{set_cell_size(last.text, max(0, room - 1))}…", room), last.look))
    return (*pieces, Piece(" " * (room - cell_len(last.text))))


def _host_lines(host: HostLoad, width: int, *, plain: bool) -> list[Line]:
    share = host.memory_used / host.memory_total if host.memory_total else 0.0
    graph = max(SPARK_WIDTH, min(40, width - 40))
    lines: list[Line] = [
        (
            Piece("CPU    ", "dim"),
            Piece(f"{host.cpu:>4.0f} %"),
            Piece(f" {sparkline(host.history, graph, BUSY_PERCENT, plain=plain)}", "spark"),
            Piece(f"  {host.cores} cores, load {host.load_1m:.2f}", "dim"),
        ),
        (
            Piece("Memory ", "dim"),
            Piece(f"{share * 100:>4.0f} %"),
            Piece(f" {bar(share, graph, plain=plain)}", "bar"),
            Piece(f"  {gib(host.memory_used)} / {gib(host.memory_total, 0)} GiB"),
        ),
    ]
    return [_fitted(line, width) for line in lines]


def _rounded(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.0f}"
