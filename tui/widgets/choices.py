"""A short list of which several can be chosen: each says in a character whether it is."""

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

from tui.widgets.glyphs import cut


class Choices(Widget, can_focus=True):
    class Changed(Message):
        """Something was chosen, or is no longer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False, tooltip="Go to the next choice"),
        Binding("up,k", "move(-1)", "up", show=False, tooltip="Go to the previous choice"),
        Binding("space", "choose", "choose", id="choices.choose", tooltip="Choose it, or not"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"choices--cursor"}
    DEFAULT_CSS = """
    Choices { height: auto; }
    Choices > .choices--cursor { background: $panel; text-style: bold; }
    """

    def __init__(self, choices: Sequence[tuple[str, str]], *, id: str | None = None) -> None:
        """`choices`: name of each, and what is said beside it."""
        super().__init__(id=id)
        self._choices = choices
        self._chosen: set[str] = set()
        self._at = 0

    @property
    def chosen(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._choices if name in self._chosen)

    def render(self) -> RenderResult:
        text = Text()
        longest = max((len(name) for name, _ in self._choices), default=0)
        cursor = self.get_component_rich_style("choices--cursor", partial=True)
        for index, (name, note) in enumerate(self._choices):
            box = "[x]" if name in self._chosen else "[ ]"
            here = "▌" if index == self._at else " "
            line = cut(f"{here}{box} {cut(name, longest)}  {note}", self.size.width)
            text.append("\n" if index else "")
            text.append(line, style=cursor if index == self._at and self.has_focus else "")
        return text

    def action_move(self, by: int) -> None:
        self._at = max(0, min(self._at + by, len(self._choices) - 1))
        self.refresh()

    def action_choose(self) -> None:
        if self._choices:
            self._chosen ^= {self._choices[self._at][0]}
            self.refresh()
            self.post_message(self.Changed())

    def on_click(self, event: Click) -> None:
        if event.y < len(self._choices):
            self._at = event.y
            self.action_choose()
