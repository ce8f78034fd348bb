"""One of a few values, gone through by the space bar or the arrow keys, on one line."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widget import Widget

from engine.text import clean_line
from tui.widgets.glyphs import cut

OWN_KEYS = ("space", "left", "right", "tab", "enter", "escape")
MOST_CELLS = 22


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

    def __init__(self, options: Sequence[tuple[str, str]], *, id: str | None = None) -> None:
        """`options`: how each value reads, and the value."""
        super().__init__(id=id)
        self._options: tuple[tuple[str, str], ...] = ()
        self._value = ""
        self.offer(options)

    def offer(self, options: Sequence[tuple[str, str]], *, only: bool = False) -> None:
        """`only`: what is chosen and not among them gives way to the first; otherwise it stays, and says so."""
        known = any(value == self._value for _, value in options)
        if not known and self._options and not only:
            options = (*options, (f"{clean_line(self._value)} (not offered)", self._value))
        elif not known:
            self._choose(options[0][1])
        if self._options != tuple(options):
            self._options = tuple(options)
            self._fit()

    @property
    def value(self) -> str:
        return self._value

    @value.setter
    def value(self, value: str) -> None:
        if all(value != known for _, known in self._options):
            self._options = (*self._options, (f"{clean_line(value)} (not offered)", value))
            self._fit()
        self._choose(value)

    def _fit(self) -> None:
        """As wide as the widest, where nothing else was said."""
        width = self.styles.width
        if width is None or not width.is_fraction:
            self.styles.width = min(MOST_CELLS, max(cell_len(label) for label, _ in self._options)) + 4
        self.refresh()

    def _choose(self, value: str) -> None:
        if value != self._value:
            self._value = value
            self.refresh()
            if self.is_attached:
                self.post_message(self.Changed())

    def render(self) -> RenderResult:
        arrow = self.get_component_rich_style("choice--arrow", partial=True)
        label = next((label for label, value in self._options if value == self._value), "")
        return Text.assemble(("‹ ", arrow), cut(label, self.size.width - 4), (" ›", arrow))

    def action_turn(self, by: int) -> None:
        at = next(place for place, (_, value) in enumerate(self._options) if value == self._value)
        self._choose(self._options[(at + by) % len(self._options)][1])

    def on_click(self) -> None:
        self.action_turn(1)

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Who fills in a form types, and means no command by it."""
        return key not in OWN_KEYS and character is not None and character.isprintable()

    def on_key(self, event: events.Key) -> None:
        if self.check_consume_key(event.key, event.character):
            event.stop()
            event.prevent_default()
