"""What was done on this machine, by whom, and how it ended."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.api import EngineApi
from engine.errors import EngineError
from engine.snapshot import AuditEntry, Outcome
from tui import format as write
from tui.operation_words import SYMBOLS
from tui.widgets.page import Page

BEGAN = "began"
_SYMBOLS = {
    BEGAN: SYMBOLS[Outcome.RUNNING],
    "done": SYMBOLS[Outcome.DONE],
    "rolled back": SYMBOLS[Outcome.ROLLED_BACK],
    "failed": SYMBOLS[Outcome.FAILED],
    "refused": SYMBOLS[Outcome.CANCELLED],
}


class History(ModalScreen[None]):
    BINDINGS = [
        Binding("escape,q,H", "dismiss", "close", id="history.close", tooltip="Close the history"),
        Binding(
            "f", "filter", "filter", id="history.filter", tooltip="Only what was done with the selected model, or all"
        ),
        Binding("r", "read", "read again", id="history.read", tooltip="Read the history again"),
    ]

    def __init__(self, api: EngineApi, name: str) -> None:
        """`name`: of the selected model; empty when none is."""
        super().__init__()
        self._api = api
        self._model = name
        self._filtered = False
        self._entries: Sequence[AuditEntry] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="history-box") as box:
            box.border_title = "History"
            with Page(id="history-body"):
                yield Static("Reading …", id="history-text", markup=False)

    def on_mount(self) -> None:
        self.action_read()
        self._label()

    def action_read(self) -> None:
        self._read()

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        try:
            result: Sequence[AuditEntry] | EngineError = self._api.history()
        except EngineError as error:
            result = error
        self.app.call_from_thread(self._take, result)

    def _take(self, result: Sequence[AuditEntry] | EngineError) -> None:
        if not self.is_mounted:
            return
        if isinstance(result, EngineError):
            self._entries = None
            self.query_one("#history-text", Static).update(f"▲ {result}")
        else:
            self._entries = _merged(result)
            self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return bool(self._model) if action == "filter" else True

    def action_filter(self) -> None:
        self._filtered = not self._filtered
        self._label()
        if self._entries is not None:
            self._show()
            self.query_one(Page).scroll_home(animate=False)

    def _label(self) -> None:
        box = self.query_one("#history-box")
        box.border_title = f"History of {self._model}" if self._filtered else "History"
        other = "f shows all" if self._filtered else f"f shows only {self._model}"
        box.border_subtitle = f"{other} · escape closes" if self._model else "escape closes"

    def _show(self) -> None:
        entries = [entry for entry in self._entries or () if not self._filtered or _is_about(entry, self._model)]
        text = self.query_one("#history-text", Static)
        if not entries:
            text.update(f"Nothing is recorded of {self._model}." if self._filtered else "Nothing is recorded yet.")
            return
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for entry in entries:
            table.add_row(_SYMBOLS.get(entry.event, "?"), _told(entry))
        text.update(table)


def _merged(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    """A beginning says nothing more once there is an end."""
    ended = {entry.operation for entry in entries if entry.event != BEGAN}
    return [entry for entry in entries if entry.event != BEGAN or entry.operation not in ended]


def _is_about(entry: AuditEntry, name: str) -> bool:
    return name in entry.what.replace(",", " ").split()


def _told(entry: AuditEntry) -> Text:
    took = f" in {write.duration(entry.seconds)}" if entry.seconds is not None and entry.event != BEGAN else ""
    event = "began; no end is recorded" if entry.event == BEGAN else entry.event
    who = f"{entry.user}@{entry.host}{f' from {entry.address}' if entry.address else ''}, by {entry.via}"
    text = Text.assemble((entry.what, "bold"), f"  {event}{took}", (f"\n{write.moment(entry.at)}  {who}", "dim"))
    return text.append(f"\n{entry.message}") if entry.message else text
