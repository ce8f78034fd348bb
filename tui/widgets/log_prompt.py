"""The line at the foot of a log in which the operator types what to seek, what to show, or where to write it."""

from enum import Enum

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Static


class Purpose(Enum):
    """What is asked for: the words before it, and what stands where it is to be typed."""

    SEARCH = ("/", "regular expression")
    FILTER = ("show", "regular expression; a ! before it hides what matches")
    SAVE = ("save", "name of a new file")


class LogPrompt(Horizontal):
    DEFAULT_CSS = """
    LogPrompt { height: 1; background: $panel; display: none; }
    LogPrompt > #log-prompt-sign { width: auto; padding: 0 1; color: $footer-key-foreground; }
    LogPrompt > Input { width: 1fr; background: $panel; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.purpose: Purpose | None = None
        """What it is open for"""
        self.input = Input(compact=True, select_on_focus=False)
        self.input.cursor_blink = False  # nothing moves that means nothing
        self._sign = Static("", id="log-prompt-sign", markup=False)

    def compose(self) -> ComposeResult:
        yield self._sign
        yield self.input

    def ask(self, purpose: Purpose, value: str) -> None:
        self.purpose = purpose
        sign, self.input.placeholder = purpose.value
        self.say(sign)
        with self.prevent(Input.Changed):
            self.input.value = value
        self.input.cursor_position = len(value)
        self.display = True
        self.input.focus()

    def say(self, words: str) -> None:
        """Before what is typed."""
        self._sign.update(words)

    def close(self) -> None:
        self.purpose = None
        self.display = False
