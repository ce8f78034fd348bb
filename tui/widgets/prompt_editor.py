"""Where a prompt is typed: Enter sends it. Terminals cannot tell ctrl+enter from Enter, so ctrl+j breaks a line."""

from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

PROMPT = "Type a prompt: enter sends it, up brings the last one back"
INPUTS = "Type the inputs as JSON: enter sends them, up brings the last ones back"


class PromptEditor(TextArea):
    class Sent(Message):
        """The operator wants the text to be sent."""

    class Recalled(Message):
        """The operator wants the last prompt back."""

    DEFAULT_CSS = """
    PromptEditor {
        height: auto;
        min-height: 1;
        padding: 0 1;
        &.-textual-compact { border-left: outer $border-blurred !important; }
        &.-textual-compact:focus { border-left: outer $border !important; }
    }
    """
    # Both have priority, and act through this widget's own queue: in order with the letters around them, however fast.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "send", id="playground.send", priority=True, tooltip="Send the prompt"),
        Binding("ctrl+j", "newline", "new line", id="playground.newline", priority=True, tooltip="Break the line"),
        Binding("up", "cursor_up", "last prompt", show=False, tooltip="In an empty prompt: bring the last one back"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(
            id=id,
            compact=True,
            highlight_cursor_line=False,
            placeholder=PROMPT,
        )
        self.cursor_blink = False  # nothing moves that means nothing

    def ask_for_inputs(self, *, tensors: bool) -> None:
        """What is to be typed. `tensors`: it is for a model that takes no text."""
        self.placeholder = INPUTS if tensors else PROMPT

    def action_send(self) -> None:
        self.post_message(self.Sent())

    def action_newline(self) -> None:
        self.call_later(self._break_line)

    def _break_line(self) -> None:
        self.replace("\n", *self.selection, maintain_selection_offset=False)

    def action_cursor_up(self, select: bool = False) -> None:  # noqa: FBT001, FBT002 (Textual's signature)
        if self.text:
            super().action_cursor_up(select)
        else:
            self.post_message(self.Recalled())
