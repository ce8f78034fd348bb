"""What the playground's dialogs look like: a box over the console, which shows through."""

from typing import TypeVar

from textual.screen import ModalScreen

Answer = TypeVar("Answer")


class PromptDialog(ModalScreen[Answer | None]):
    """Holds one container of the class `box`."""

    DEFAULT_CSS = """
    PromptDialog > .box {
        width: 90%; max-width: 96; height: auto; max-height: 100%;
        border: round $accent; background: $surface; padding: 0 1;
    }
    PromptDialog .label { width: 16; color: $foreground-muted; }
    PromptDialog .buttons { height: 1; align-horizontal: right; }
    PromptDialog .buttons Button { margin-left: 2; min-width: 10; }
    """
