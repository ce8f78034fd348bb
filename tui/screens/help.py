"""Every key, from the same registry that binds them."""

from collections.abc import Iterable, Iterator

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.deployment import State
from tui.actions import ACTIONS
from tui.keys import key_names
from tui.panes import PANES
from tui.screens.confirm import Confirm
from tui.screens.diagnosis import Explain
from tui.screens.dialog import Dialog
from tui.screens.doctor import Doctor
from tui.screens.gpus import Gpus
from tui.screens.history import History
from tui.screens.recover import Recover
from tui.screens.swap import ConfirmSwap
from tui.widgets.gpu_table import GpuTable
from tui.widgets.model_area import ModelArea
from tui.widgets.model_list import ModelList
from tui.widgets.page import Page
from tui.widgets.state import DRIFT, FOREIGN, LOOKS


class Help(ModalScreen[None]):
    BINDINGS = [
        Binding("escape,q,question_mark", "dismiss", "close", id="help.close"),
    ]

    def __init__(self, pane: str) -> None:
        """`pane`: the key of the pane that is looked at; its keys come before those of the others."""
        super().__init__()
        self._pane = pane

    def compose(self) -> ComposeResult:
        with Vertical(id="help-box") as box:
            box.border_title = "Keys"
            box.border_subtitle = "escape closes"
            with Page(id="help-body"):
                yield Static(self._keys(), markup=False)

    def _keys(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        group = ""
        for action in ACTIONS:
            if action.group != group:
                self._heading(table, action.group, first=not group)
                group = action.group
            table.add_row(Text(key_names(action.keys), style="bold"), action.help)
        for title, bindings in self._areas():
            self._heading(table, title)
            for binding in bindings:
                if isinstance(binding, Binding) and binding.tooltip:
                    table.add_row(Text(key_names(binding.key), style="bold"), binding.tooltip)
        self._heading(table, "States")
        for state, look in LOOKS.items():
            table.add_row(Text(f"{look.symbol} {look.word}"), MEANINGS[state])
        table.add_row(Text(f"{FOREIGN.symbol} {FOREIGN.word}"), "started by hand: watched only, until it is adopted")
        table.add_row(Text(DRIFT), "beside a state: it differs from what its profile or image says now")
        return table

    def _areas(self) -> Iterator[tuple[str, Iterable[BindingType]]]:
        """Those with keys of their own."""
        yield "List of models", [*ModelList.BINDINGS, *ModelArea.BINDINGS]
        for key in sorted(PANES, key=lambda key: key != self._pane):
            pane = PANES[key].load()
            yield PANES[key].title, [binding for part in (pane, *pane.PARTS) for binding in part.BINDINGS]
        yield "Questions", [*Dialog.BINDINGS, *Confirm.BINDINGS, *ConfirmSwap.BINDINGS, *Recover.BINDINGS]
        yield "Explanation of a failure", Explain.BINDINGS
        yield "History", History.BINDINGS
        yield "Doctor", Doctor.BINDINGS
        yield "GPUs", [*Gpus.BINDINGS, *GpuTable.BINDINGS]

    def _heading(self, table: Table, title: str, *, first: bool = False) -> None:
        if not first:
            table.add_row("", "")
        table.add_row(Text.assemble((title, "underline")), "")


MEANINGS = {
    State.ABSENT: "never started, or removed",
    State.STOPPED: "ended on purpose; kept with its log",
    State.STARTING: "runs, and is not ready yet",
    State.READY: "its health endpoint answers",
    State.ASLEEP: "runs and holds little GPU memory; answers when it is woken",
    State.STOPPING: "was asked to end",
    State.FAILED: "ended by itself, or could not start",
    State.UNREACHABLE: "runs, was ready, and does not answer now",
}
