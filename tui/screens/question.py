"""A question that is answered with yes or no."""

from textual.app import ComposeResult
from textual.widgets import Static

from tui.screens.dialog import Dialog


class Question(Dialog[bool]):
    def __init__(self, title: str, says: str, *, yes: str, no: str) -> None:
        super().__init__(title, yes, "warning", no=no)
        self._says = says

    def compose_body(self) -> ComposeResult:
        yield Static(self._says, markup=False)

    def on_mount(self) -> None:
        self.offer(possible=True)

    def answer(self) -> bool:
        return True
