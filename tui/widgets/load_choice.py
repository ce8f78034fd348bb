"""One of a few words, gone through by the space bar or the arrow keys, on one line."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from tui.widgets.glyphs import cut


class Choice(Widget, can_focus=True):
    class Changed(Message):
        """Another one was chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,right", "turn(1)", "other", id="load.choose", tooltip="In the form: the next of a few words"),
        Binding("left", "turn(-1)", "back", show=False, tooltip="In the form: the previous of a few words"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choice--arrow"}
    DEFAULT_CSS = """
    Choice {
        height: 1; width: auto; background: $surface; margin: 0 2 0 0;
        & > .choice--arrow { color: $footer-key-foreground; }
        &:focus { background: $panel; text-style: bold; }
    }
    """

    def __init__(self, words: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._words = tuple(words)
        self._at = 0
        self.styles.width = max(cell_len(word) for word in self._words) + 4

    @property
    def value(self) -> str:
        return self._words[self._at]

    @value.setter
    def value(self, word: str) -> None:
        if word in self._words and word != self.value:
            self._at = self._words.index(word)
            self.refresh()
            self.post_message(self.Changed())

    def render(self) -> RenderResult:
        arrow = self.get_component_rich_style("choice--arrow", partial=True)
        return Text.assemble(("‹ ", arrow), cut(self.value, self.size.width - 4), (" ›", arrow))

    def action_turn(self, by: int) -> None:
        self.value = self._words[(self._at + by) % len(self._words)]

    def on_click(self) -> None:
        self.action_turn(1)
