"""A conversation with its answers rendered as Markdown, in a thread: Textual's own widget makes one widget a block."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from textual.binding import BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from engine.text import clean_line
from tui.widgets.growing_view import resize
from tui.widgets.streamed_text import StreamedText

if TYPE_CHECKING:
    from rich.style import Style

Piece = tuple[str, str]
"""Kind and text, as in `StreamedText`"""


class MarkdownText(ScrollView, can_focus=True):
    """Shows what `rendered` makes."""

    DEFAULT_CSS = """
    MarkdownText {
        scrollbar-gutter: stable; scrollbar-size-vertical: 1; overflow-x: hidden;
        &:focus { background-tint: $foreground 4%; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = StreamedText.BINDINGS

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._strips: Sequence[Strip] = ()

    @property
    def text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self._strips)

    def show(self, strips: Sequence[Strip], *, follow: bool) -> None:
        """`follow`: scrolls to the end."""
        self._strips = strips
        resize(self, Size(self.scrollable_content_region.width, len(strips)))
        if follow:
            self.scroll_end(animate=False, immediate=True, force=True, x_axis=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        row = self.scroll_offset.y + y
        base = self.rich_style
        if row >= len(self._strips):
            return Strip.blank(self.size.width, base)
        strip = self._strips[row].apply_style(base).adjust_cell_length(self.size.width, base)
        span = self.text_selection.get_span(row) if self.text_selection is not None else None
        if span is not None:
            start, end = span
            end = strip.cell_length if end == -1 else end
            chosen = strip.crop(start, end)
            marked = self.screen.get_component_rich_style("screen--selection")
            lit = Strip([Segment(one.text, (one.style or base) + marked) for one in chosen], chosen.cell_length)
            strip = Strip.join([strip.crop(0, start), lit, strip.crop(end)])
        return strip.apply_offsets(0, row)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(strip.text for strip in self._strips)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()


def rendered(pieces: Sequence[Piece], width: int, styles: Mapping[str, "Style"]) -> list[Strip]:
    """Lines of the pieces. For a thread: it takes about 10 µs a character.

    `styles`: by kind of piece. No hyperlinks are made of links, and what was written as an entity is cleaned again.
    """
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.style import Style
    from rich.text import Text
    from rich.theme import Theme

    code = Theme({"markdown.code": Style(bold=True), "markdown.code_block": Style()})
    console = Console(width=width, color_system="truecolor", force_terminal=True, theme=code, file=None)
    options = console.options.update(width=width, height=None)
    strips: list[Strip] = []
    for kind, text in pieces:
        if strips:
            strips.append(Strip([]))
        body = Markdown(text, code_theme="ansi_dark", hyperlinks=False) if kind == "answer" else Text(text)
        lines = console.render_lines(body, options, style=styles.get(kind), pad=False)
        strips += [Strip([Segment(clean_line(one.text), one.style) for one in line]) for line in lines]
    return strips
