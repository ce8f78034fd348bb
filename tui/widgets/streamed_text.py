"""Text that grows at its end: wraps by words, follows while it is at the bottom, and costs only what was added."""

import re
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tui.widgets.growing_view import resize

_WORD = re.compile(r"\s*\S+\s*|\s+")


class StreamedText(ScrollView, can_focus=True):
    """Shows pieces of text, each of a kind that has its own colour: `answer`, `prompt`, `reasoning` or `note`.

    The text must be clean. A piece continues the line of the piece before it when both are of one kind.
    """

    DEFAULT_CSS = """
    StreamedText {
        scrollbar-gutter: stable;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        &:focus { background-tint: $foreground 4%; }
        & > .streamed-text--prompt { color: $text-muted; text-style: bold; }
        & > .streamed-text--reasoning { color: $text-muted; text-style: italic; }
        & > .streamed-text--note { color: $text-error; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "streamed-text--prompt",
        "streamed-text--reasoning",
        "streamed-text--note",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "scroll_down", "down", show=False, tooltip="In the answer: scroll down by a line"),
        Binding("up,k", "scroll_up", "up", show=False, tooltip="In the answer: scroll up by a line"),
        Binding("pagedown", "page_down", "page down", show=False, tooltip="In the answer: scroll down by a page"),
        Binding("pageup", "page_up", "page up", show=False, tooltip="In the answer: scroll up by a page"),
        Binding("home,g", "scroll_home", "top", show=False, tooltip="In the answer: go to the top"),
        Binding("end,G", "scroll_end", "end", show=False, tooltip="In the answer: go to the end"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._pieces: list[tuple[str, str]] = []
        self._rows: list[tuple[str, str]] = []
        self._width = 0
        self._following = True
        self._base = Style.null()

    @property
    def text(self) -> str:
        return "".join(text for _, text in self._pieces)

    @property
    def rows(self) -> int:
        """So many have been laid out."""
        return len(self._rows)

    def clear(self) -> None:
        self._pieces.clear()
        self._rows.clear()
        self._resize_rows()
        self.show_start()
        self._following = True
        self.refresh()

    def show_start(self) -> None:
        """Scrolls to the first line, for an answer that is complete."""
        self.show_row(0)

    def show_row(self, row: int) -> None:
        """Scrolls to that row, or as far towards it as there is text."""
        self.scroll_to(y=row, animate=False, immediate=True, force=True)
        self._following = False

    def append(self, text: str, kind: str = "answer") -> None:
        """Adds text, and scrolls to it unless the operator looks at what was before."""
        self._pieces.append((kind, text))
        changed = max(len(self._rows) - 1, 0)
        self._lay(kind, text)
        self._resize_rows()
        self._follow()
        self.refresh_lines(changed, len(self._rows) - changed)

    def on_resize(self, event: events.Resize) -> None:
        width = self.scrollable_content_region.width
        if width != self._width and width > 0:
            self._width = width
            self._rows.clear()
            for kind, text in self._merged():
                self._lay(kind, text)
            self._resize_rows()
            self.refresh()
        self._follow()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._following = round(new_value) >= self.max_scroll_y

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = self.rich_style  # put together from those of all that it is in: for once, not for each line
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        base = self._base
        if row >= len(self._rows):
            return Strip.blank(self.size.width, base)
        kind, text = self._rows[row]
        style = base if kind == "answer" else self.get_component_rich_style(f"streamed-text--{kind}")
        strip = Strip(self._segments(row, text, style)).adjust_cell_length(self.size.width, base)
        return strip.apply_offsets(0, row)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(text for _, text in self._rows)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    def _segments(self, row: int, text: str, style: Style) -> list[Segment]:
        span = self.text_selection.get_span(row) if self.text_selection is not None else None
        if span is None:
            return [Segment(text, style)]
        start, end = span
        end = len(text) if end == -1 else end
        selected = style + self.screen.get_component_rich_style("screen--selection")
        return [Segment(text[:start], style), Segment(text[start:end], selected), Segment(text[end:], style)]

    def _merged(self) -> list[tuple[str, str]]:
        """Neighbours of one kind joined, which also keeps the list of pieces short."""
        merged: list[tuple[str, list[str]]] = []
        for kind, text in self._pieces:
            if merged and merged[-1][0] == kind:
                merged[-1][1].append(text)
            else:
                merged.append((kind, [text]))
        self._pieces = [(kind, "".join(texts)) for kind, texts in merged]
        return self._pieces

    def _lay(self, kind: str, text: str) -> None:
        """Wraps new text. Of what is there only the last row can change, as words fill rows greedily."""
        if not self._width:
            return
        if self._rows and self._rows[-1][0] == kind:
            text = self._rows.pop()[1] + text
        for line in text.split("\n"):
            self._rows.extend((kind, row) for row in wrapped(line, self._width))

    def _follow(self) -> None:
        if self._following:
            # forced: the scrollbar that would allow it comes only with the next layout
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)

    def _resize_rows(self) -> None:
        resize(self, Size(self._width, len(self._rows)))


def wrapped(line: str, width: int) -> list[str]:
    """The rows of a line: broken after words, and inside of those that are longer than a row."""
    if len(line) <= width and line.isascii():
        return [line]
    rows: list[str] = []
    row, used = "", 0
    for match in _WORD.finditer(line):
        word = match.group()
        needed = cell_len(word.rstrip()) or 1
        if row and used + needed > width:
            rows.append(row)
            row, used = "", 0
        if needed > width:
            *whole, word = chop_cells(word, width)
            rows.extend(whole)
        row += word
        used += cell_len(word)
    return [*rows, row]
