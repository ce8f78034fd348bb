"""The line at the foot of the list of models: what the list is narrowed to, and how much of it is left."""

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Input, Static


class FilterLine(Horizontal):
    DEFAULT_CSS = """
    FilterLine { height: 1; background: $panel; }
    FilterLine > #filter-sign { width: auto; padding: 0 1; color: $footer-key-foreground; }
    FilterLine > #filter-text { width: 1fr; background: $panel; }
    FilterLine > #filter-count { width: auto; padding: 0 1; color: $foreground-muted; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.input = Input(placeholder="name, stack or state", compact=True, id="filter-text")
        self.input.cursor_blink = False  # nothing moves that means nothing
        self._count = Static(id="filter-count", markup=False)

    def compose(self) -> ComposeResult:
        yield Static("/", id="filter-sign")
        yield self.input
        yield self._count

    def show_count(self, left: int, every: int) -> None:
        count = f"{left} of {every}"
        if self._count.content != count:
            self._count.update(count)
