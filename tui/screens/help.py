"""Every key, from the same registry that binds them."""

from collections.abc import Iterator
from typing import NamedTuple

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.dom import DOMNode
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


class Area(NamedTuple):
    """A place with keys of its own."""

    title: str
    parts: tuple[type[DOMNode], ...]
    """First what the others are in"""


class Help(ModalScreen[None]):
    BINDINGS = [
        Binding("escape,q,question_mark", "dismiss", "close", id="help.close"),
    ]

    def __init__(self, place: DOMNode, pane: str = "logs") -> None:
        """`place`: what has the keys: those that hold there come first. `pane`: key of the one that is looked at."""
        super().__init__()
        self._place = tuple(type(node) for node in place.ancestors_with_self)
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
        areas = list(self._areas())
        # In the list it begins with what can be done with a model: that is more than moving the cursor.
        here = next((area for area in areas[1:] if self._depth(area.parts[0])), None)
        if here:
            self._add(table, here.title, self._held_first(here))
        for group in dict.fromkeys(action.group for action in ACTIONS):
            self._add(table, group, [action.binding() for action in ACTIONS if action.group == group])
        for area in areas:
            if area is not here:
                self._add(table, area.title, [binding for part in area.parts for binding in _bindings(part)])
        self._heading(table, "States")
        for state, look in LOOKS.items():
            table.add_row(Text(f"{look.symbol} {look.word}"), MEANINGS[state])
        table.add_row(Text(f"{FOREIGN.symbol} {FOREIGN.word}"), "started by hand: watched only, until it is adopted")
        table.add_row(Text(DRIFT), "beside a state: it differs from what its profile or image says now")
        return table

    def _areas(self) -> Iterator[Area]:
        """Those with keys of their own."""
        yield Area("List of models", (ModelList, ModelArea))
        for key in sorted(PANES, key=lambda key: key != self._pane):
            pane = PANES[key].load()
            yield Area(PANES[key].title, (pane, *pane.PARTS))
        yield Area("Questions", (Dialog, Confirm, ConfirmSwap, Recover))
        yield Area("Explanation of a failure", (Explain,))
        yield Area("History", (History,))
        yield Area("Doctor", (Doctor,))
        yield Area("GPUs", (Gpus, GpuTable))

    def _depth(self, part: type[DOMNode]) -> int:
        """How far in it is, of what has the keys: 0 when it is not of it, the most for the innermost."""
        return next((len(self._place) - at for at, kind in enumerate(self._place) if issubclass(kind, part)), 0)

    def _held_first(self, area: Area) -> list[Binding]:
        """As the last line of the screen has them, then those that it does not show, then those of other parts."""
        parts = sorted(area.parts, key=self._depth, reverse=True)
        held = [binding for part in parts if self._depth(part) for binding in _bindings(part)]
        others = [binding for part in parts if not self._depth(part) for binding in _bindings(part)]
        return sorted(held, key=lambda binding: not binding.show) + others

    def _add(self, table: Table, title: str, bindings: list[Binding]) -> None:
        self._heading(table, title)
        for binding in bindings:
            if binding.tooltip:
                table.add_row(Text(key_names(binding.key), style="bold"), binding.tooltip)

    def _heading(self, table: Table, title: str) -> None:
        if table.row_count:
            table.add_row("", "")
        table.add_row(Text.assemble((title, "underline")), "")


def _bindings(part: type[DOMNode]) -> list[Binding]:
    return [binding for binding in part.BINDINGS if isinstance(binding, Binding)]


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
