"""An operation whose process is gone: it is finished, rolled back, or left."""

from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Button, Static

from engine.request import Action
from engine.snapshot import OperationStatus, Outcome
from tui import format as write
from tui import operation_words as words
from tui.screens.dialog import Dialog


class Recover(Dialog[Action]):
    """Ends with `Action.FINISH` or `Action.ROLL_BACK`, or with None."""

    BINDINGS = [
        Binding("f", "choose('finish')", "finish", id="recover.finish", tooltip="Finish what was interrupted"),
        Binding("r", "choose('roll back')", "roll back", id="recover.roll_back", tooltip="Roll it back"),
    ]

    def __init__(self, status: OperationStatus) -> None:
        super().__init__(f"{status.title} was interrupted", "")
        self._status = status

    def compose_body(self) -> ComposeResult:
        yield Static(self._described(), markup=False)

    def compose_buttons(self) -> ComposeResult:
        yield Button("Finish (f)", variant="warning", id="finish", compact=True)
        yield Button("Roll back (r)", variant="warning", id="roll-back", compact=True)
        yield Button("Leave it (n)", id="no", compact=True)

    def on_mount(self) -> None:
        """No choice is the default: which is right depends on what is needed now."""
        self.query_one("#no", Button).focus()

    def _described(self) -> Table:
        status = self._status
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        done = [words.what(status, step) for step in status.steps if step.outcome is Outcome.DONE]
        broken = [
            words.what(status, step) for step in status.steps if step.outcome in (Outcome.RUNNING, Outcome.INTERRUPTED)
        ]
        facts = {
            "begun": f"{write.moment(status.began_at)} by {status.owner}; its process is gone",
            "done": ", ".join(done) or "nothing",
            "broken off": ", ".join(broken),
            "finish": words.finished(status),
            "roll back": words.undone(status),
        }
        for title, value in facts.items():
            if value:
                table.add_row(title, Text(value))
        return table

    def action_choose(self, what: str) -> None:
        self.dismiss(Action(what))

    @on(Button.Pressed, "#finish")
    def _finish(self) -> None:
        self.dismiss(Action.FINISH)

    @on(Button.Pressed, "#roll-back")
    def _roll_back(self) -> None:
        self.dismiss(Action.ROLL_BACK)
