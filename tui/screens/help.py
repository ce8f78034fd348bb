"""Every key, from the same registry that binds them."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from tui.actions import ACTIONS
from tui.widgets.state import LOOKS

KEY_NAMES = {
    "question_mark": "?",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "space": "space",
    "pagedown": "page down",
    "pageup": "page up",
}


class Help(ModalScreen[None]):
    BINDINGS = [
        Binding("escape,q,question_mark", "dismiss", "close", id="help.close"),
        Binding("down,j", "scroll(1)", "down", show=False),
        Binding("up,k", "scroll(-1)", "up", show=False),
        Binding("pagedown,space", "scroll(10)", "page down", show=False),
        Binding("pageup", "scroll(-10)", "page up", show=False),
    ]

    def __init__(self, panes: Iterable[tuple[str, Iterable[BindingType]]]) -> None:
        """`panes`: title and bindings of each area that has keys of its own."""
        super().__init__()
        self._panes = [(title, list(bindings)) for title, bindings in panes]

    def compose(self) -> ComposeResult:
        with Vertical(id="help-box") as box:
            box.border_title = "Keys"
            box.border_subtitle = "esc close"
            with VerticalScroll(id="help-body"):
                yield Static(self._keys(), markup=False)

    def action_scroll(self, by: int) -> None:
        self.query_one("#help-body").scroll_relative(y=by, animate=False)

    def _keys(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        group = ""
        for action in ACTIONS:
            if action.group != group:
                self._heading(table, action.group, first=not group)
                group = action.group
            table.add_row(Text(_names(action.keys), style="bold"), action.help)
        for title, bindings in self._panes:
            self._heading(table, title)
            for binding in bindings:
                if isinstance(binding, Binding) and binding.description:
                    table.add_row(Text(_names(binding.key), style="bold"), binding.tooltip or binding.description)
        self._heading(table, "States")
        for state, look in LOOKS.items():
            table.add_row(Text(f"{look.symbol} {look.word}"), MEANINGS[state.value])
        return table

    def _heading(self, table: Table, title: str, *, first: bool = False) -> None:
        if not first:
            table.add_row("", "")
        table.add_row(Text(title, style="underline"), "")


MEANINGS = {
    "absent": "never started, or removed",
    "stopped": "ended on purpose; kept with its log",
    "starting": "runs, and is not ready yet",
    "ready": "its health endpoint answers",
    "stopping": "was asked to end",
    "failed": "ended by itself, or could not start",
    "unreachable": "runs, was ready, and does not answer now",
}


def _names(keys: str) -> str:
    return "  ".join(KEY_NAMES.get(key, key) for key in keys.split(","))
