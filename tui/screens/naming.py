"""What the questions under which name something is written have in common: a field, a sentence, and two buttons."""

from typing import ClassVar, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from engine.errors import EngineError

Answer = TypeVar("Answer")


class Naming(ModalScreen[Answer | None]):
    """Ends with what was written, or with None."""

    PARTS: ClassVar[str]
    """How the ids of its parts begin"""
    LABEL: ClassVar[str]
    YES: ClassVar[str]
    DOING: ClassVar[str]

    def __init__(self, title: str, name: str, why: str = "") -> None:
        super().__init__()
        self._heading = title
        self._proposed = name
        self._why = why
        self._working = False

    def objection(self, name: str) -> str:
        """Why that cannot be its name; empty when it can."""
        raise NotImplementedError

    def hint(self, name: str) -> str:
        """What to know of a name that it can have."""
        raise NotImplementedError

    def write(self, name: str) -> Answer:
        """Blocks. Raises `EngineError`."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        with Vertical(id=f"{self.PARTS}-box") as box:
            box.border_title = self._heading
            if self._why:
                yield Static(self._why, id=f"{self.PARTS}-why", markup=False)
            yield Static(self.LABEL, classes="label")
            yield Input(self._proposed, id=f"{self.PARTS}-name", compact=True, select_on_focus=False)
            yield Static("", id=f"{self.PARTS}-says", markup=False)
            with Horizontal(id=f"{self.PARTS}-buttons"):
                yield Button(f"{self.YES} (enter)", variant="primary", id="yes", compact=True)
                yield Button("Cancel (escape)", id="no", compact=True)

    def on_mount(self) -> None:
        field = self.query_one(Input)
        field.cursor_blink = False
        field.focus()
        self._check()

    @on(Input.Changed)
    def _check(self) -> None:
        if not self._working:
            name = self.query_one(Input).value
            objection = self.objection(name)
            self._say(f"▲ {objection}" if objection else self.hint(name), possible=not objection)

    def _say(self, sentence: str, *, possible: bool) -> None:
        self.query_one(f"#{self.PARTS}-says", Static).update(sentence)
        self.query_one("#yes", Button).disabled = not possible

    @on(Input.Submitted)
    @on(Button.Pressed, "#yes")
    def _go(self) -> None:
        name = self.query_one(Input).value
        if not self._working and not self.objection(name):
            self._working = True
            self._say(self.DOING, possible=False)
            self._write(name)

    @work(thread=True)
    def _write(self, name: str) -> None:
        try:
            answer = self.write(name)
        except EngineError as error:
            self.app.call_from_thread(self._refused, str(error))
        else:
            self.app.call_from_thread(self._done, answer)

    def _done(self, answer: Answer) -> None:
        if self.is_current:  # it may have been left meanwhile; what was written is there
            self.dismiss(answer)

    def _refused(self, sentence: str) -> None:
        if not self.is_current:
            self.app.notify(sentence, severity="error", markup=False)
            return
        self._working = False
        self._say(f"▲ {sentence}", possible=True)

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)
