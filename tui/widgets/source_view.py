"""A file with its line numbers; only the lines that are seen are looked at."""

from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.widgets.ink import ink
from tui.widgets.page import Page
from tui.widgets.yaml_look import tokens


class SourceView(ScrollView, can_focus=True):
    DEFAULT_CSS = """
    SourceView {
        height: 1fr; scrollbar-gutter: stable;
        & > .source--number { color: $foreground-muted; }
        & > .source--comment { color: $foreground-muted; }
        & > .source--key { color: $secondary; }
        & > .source--text { color: $text-success; }
        & > .source--marked { background: $panel; text-style: bold; }
        & > .source--mark { color: $text-error; text-style: bold; }
    }
    """
    COMPONENT_CLASSES = {
        "source--number",
        "source--comment",
        "source--key",
        "source--text",
        "source--marked",
        "source--mark",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        *Page.BINDINGS,
        Binding("left", "scroll_left", "left", show=False, tooltip="See what is further left"),
        Binding("right", "scroll_right", "right", show=False, tooltip="See what is further right"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[str] = []
        self._marked: int | None = None

    def show(self, text: str, marked: int | None = None) -> None:
        """The place that is looked at stays. `marked`: a line, from 1."""
        self._lines, self._marked = text.splitlines(), marked
        widest = max((len(line) if line.isascii() else cell_len(line) for line in self._lines), default=0)
        self.virtual_size = Size(self._gutter + widest, len(self._lines))
        self.refresh()

    def go_to(self, line: int) -> None:
        """From 1, with some lines before it; at once, as a new file begins."""
        self.scroll_to(0, max(0, line - 1 - self.size.height // 3), animate=False, force=True)

    @property
    def _gutter(self) -> int:
        """A mark, the number, a space."""
        return len(str(len(self._lines))) + 3

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        width, number = self.scrollable_content_region.width, y + top + 1
        base = self.rich_style
        if number > len(self._lines):
            return Strip.blank(width, base)
        marked = number == self._marked
        if marked:
            base += self.get_component_rich_style("source--marked", partial=True)
        gutter = Segment(
            f"{'▲' if marked else ' '} {number:>{self._gutter - 3}} ",
            base + ink(self, "source--mark" if marked else "source--number"),
        )
        room = max(0, width - self._gutter)
        seen = self._lines[number - 1][: left + room]  # a cell has at least one character
        pieces = [Segment(piece, base + ink(self, f"source--{kind}") if kind else base) for piece, kind in tokens(seen)]
        return Strip.join([Strip([gutter]), Strip(pieces).crop(left, left + room)]).adjust_cell_length(width, base)
