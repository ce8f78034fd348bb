"""The list of models: one row each, with state as symbol and word, and the cursor that all else follows."""

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.deployment import State
from engine.snapshot import Model, ProfileProblem, Snapshot
from tui import format as write
from tui.widgets.glyphs import cut
from tui.widgets.ink import ink
from tui.widgets.model_rows import WORD_CELLS, Row, in_order, matches, row_cells, row_endpoint, row_file, row_key

if TYPE_CHECKING:
    from tui.widgets.sparks import ListSparks

MIN_NAME = 14
SPARK_WITH_NUMBER = 22


class ModelList(ScrollView, can_focus=True):
    """Drawn line by line, so that only visible rows cost anything."""

    class Selected(Message):
        """The cursor is on another model."""

        def __init__(self, name: str | None) -> None:
            super().__init__()
            self.name = name

    class Chosen(Message):
        """Enter or a double click."""

    BINDINGS = [
        Binding("down,j", "move(1)", "down", show=False, id="list.down", tooltip="Go to the next model"),
        Binding("up,k", "move(-1)", "up", show=False, id="list.up", tooltip="Go to the previous model"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page_down", tooltip="Go down by a page"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page_up", tooltip="Go up by a page"),
        Binding("home,g", "move(-100000)", "first", show=False, id="list.first", tooltip="Go to the first model"),
        Binding("end,G", "move(100000)", "last", show=False, id="list.last", tooltip="Go to the last model"),
    ]
    COMPONENT_CLASSES = {f"models--{state.value}" for state in State} | {
        "models--name",
        "models--muted",
        "models--cursor",
        "models--problem",
        "models--foreign",
        "models--noticed",
    }
    DEFAULT_CSS = """
    ModelList {
        scrollbar-size-vertical: 1; overflow-x: hidden;
        & > .models--name { color: $foreground; }
        & > .models--muted { color: $foreground-muted; }
        & > .models--absent { color: $foreground-muted; }
        & > .models--stopped { color: $foreground-muted; }
        & > .models--starting { color: $text-warning; }
        & > .models--ready { color: $text-success; }
        & > .models--asleep { color: $foreground-muted; }
        & > .models--foreign { color: $foreground; }
        & > .models--noticed { color: $text-warning; }
        & > .models--stopping { color: $text-warning; }
        & > .models--failed { color: $text-error; }
        & > .models--unreachable { color: $text-error; }
        & > .models--problem { color: $text-error; }
        & > .models--cursor { background: $panel; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._rows: tuple[Row, ...] = ()
        self._visible: list[Row] = []
        """Those that the filter leaves"""
        self._words: list[str] = []
        self._loading = True
        self._cursor = 0
        self._wanted: str | None = None
        """Key of the row that was gone to; the cursor returns to it when the filter leaves it again"""
        self._wanted_file = ""
        self._settled = False
        """The operator has moved, or the list was complete once: until then its first row is the one to be on"""
        self._longest = 0
        self.sparks: ListSparks | None = None
        """None until there is something to ask"""
        self._shown: list[tuple[str, ...]] = []

    @property
    def _row(self) -> Row | None:
        return self._visible[self._cursor] if self._cursor < len(self._visible) else None

    @property
    def selected(self) -> Model | None:
        return self._row if isinstance(self._row, Model) else None

    @property
    def selected_problem(self) -> ProfileProblem | None:
        return self._row if isinstance(self._row, ProfileProblem) else None

    @property
    def place(self) -> str:
        """Where the cursor is, when not every row has room."""
        return f"{self._cursor + 1} of {self._count}" if self._count > self.size.height else ""

    @property
    def counts(self) -> tuple[int, int]:
        """Rows that the filter leaves, and all."""
        return len(self._visible), len(self._rows)

    def show(self, snapshot: Snapshot) -> None:
        self._rows = in_order(snapshot)
        if not self._settled:
            self._wanted, self._wanted_file, self._cursor = None, "", 0
            self._settled = not snapshot.loading
        self._loading = snapshot.loading and not snapshot.models
        self._longest = max((cell_len(row_cells(row)[2]) for row in self._rows), default=0)
        self._sift()

    def filter(self, text: str) -> None:
        """Leaves the rows in which every word of it occurs; all when it is empty."""
        self._words = text.lower().split()
        self._sift()
        self.refresh()

    def settle(self) -> None:
        """The row under the cursor is the one that is wanted, whatever the filter does next."""
        if self._row:
            self._wanted, self._wanted_file = row_key(self._row), row_file(self._row)

    def _sift(self) -> None:
        before, at = self._row, self._cursor
        self._visible = [row for row in self._rows if matches(row, self._words)]
        known = {row_key(row) for row in self._rows}
        if self._wanted not in known and self._wanted_file:
            # A profile that is not valid any more, or is again, is another row, and the same to whoever edits it.
            self._wanted = next((row_key(row) for row in self._rows if row_file(row) == self._wanted_file), None)
        self._cursor = self._position()
        if self._wanted not in known:
            self.settle()
        self.virtual_size = Size(self.size.width, max(1, self._count))
        self.tick()
        if self._cursor != at:
            self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)
        if (row_key(self._row) if self._row else None) != (row_key(before) if before else None):
            self._tell_selected()

    def _position(self) -> int:
        """Of the cursor: on the wanted row, on what follows it when it is left out, or where it was when it is gone."""
        keys, left = [row_key(row) for row in self._rows], [row_key(row) for row in self._visible]
        if self._wanted in keys:
            after = set(keys[keys.index(self._wanted) :])
            found = next((index for index, key in enumerate(left) if key in after), len(left) - 1)
        else:
            found = self._cursor
        return max(0, min(found, len(left) - 1))

    def _tell_selected(self) -> None:
        message = self.Selected(self.selected.name if self.selected else None)
        # Whoever made it happen: what its parent's own handler sends does not go further up than the parent.
        self.post_message(message.set_sender(self))

    def select(self, name: str) -> bool:
        """Puts the cursor on a model; False when it is not among the visible ones."""
        for index, row in enumerate(self._visible):
            if row_key(row) == name:
                self._move_to(index)
                return True
        return False

    def tick(self) -> None:
        """Redraws the rows whose text has changed, such as a running clock."""
        shown: list[tuple[str, ...]] = [(*row_cells(row), *self._spark(row)) for row in self._visible]
        shown = shown or [self._placeholder()]
        if len(shown) != len(self._shown) or (not self._visible and shown != self._shown):
            self.refresh()
        else:
            for index, (new, old) in enumerate(zip(shown, self._shown, strict=True)):
                if new != old:
                    self._refresh_row(index)
        self._shown = shown

    def _spark(self, row: Row) -> tuple[str, str]:
        """What it does now and did just before, as a line and in a number."""
        return self.sparks.of(row, write.now()) if self.sparks and isinstance(row, Model) else ("", "")

    @property
    def _count(self) -> int:
        return len(self._visible)

    def _refresh_row(self, index: int) -> None:
        row = index - self.scroll_offset.y
        self.refresh(Region(0, row, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        if index >= self._count:
            return self._blank(y, width)
        row = self._visible[index]
        state, symbol, name, word, right = row_cells(row)
        endpoint = row_endpoint(row)
        on_cursor = index == self._cursor
        base = self.rich_style
        if on_cursor:
            base += self.get_component_rich_style("models--cursor", partial=True)
        state_style = base + ink(self, f"models--{state}")
        muted = base + ink(self, "models--muted")
        name_width = max(MIN_NAME, min(self._longest, width - 24))
        parts = [
            (("▌" if on_cursor else " "), state_style if self.has_focus else muted),
            (f"{symbol} ", state_style),
            (cut(name, name_width) + " ", base),
            (cut(word, WORD_CELLS), state_style),
        ]
        used = 1 + 2 + name_width + 1 + WORD_CELLS
        rest = width - used
        if endpoint and rest < 8 + len(endpoint):
            endpoint = f":{endpoint.rpartition(':')[2]}"
        line, number = self._spark(row)
        if endpoint and rest >= 8 + len(endpoint):
            parts.append((cut(right, 8), muted))
            free = rest - 8 - len(endpoint)
            beside = f" {line}" if line and free > len(line) + 1 else ""
            beside += f" {number}" if beside and free > SPARK_WITH_NUMBER else ""
            parts.append((cut(endpoint, rest - 8 - len(beside)), muted))
            parts.append((beside, muted))
        elif line and rest >= len(line) and not (isinstance(row, Model) and row.notices):
            # What it does now says more than since when it is ready.
            before = rest - len(line)
            parts.append((cut(right if before > cell_len(right) else "", before) + line, muted))
        else:
            parts.append((cut(right, max(0, rest)), muted))
        return Strip([Segment(text, style) for text, style in parts]).adjust_cell_length(width, base)

    def _blank(self, y: int, width: int) -> Strip:
        style = self.rich_style + ink(self, "models--muted")
        lines = () if self._visible else self._placeholder()
        text = lines[y] if y < len(lines) else ""
        return Strip([Segment(" " + text, style)]).adjust_cell_length(width, style)

    def _placeholder(self) -> tuple[str, ...]:
        if self._loading:
            return ("Reading profiles …",)
        if self._rows:
            return ("None of them matches. Escape shows all.",)
        return "No profiles were found.", "Put one into ./profiles, or start with --profiles DIR."

    def action_move(self, by: int) -> None:
        self._move_to(self._cursor + by)

    def action_page(self, direction: int) -> None:
        self._move_to(self._cursor + direction * max(1, self.size.height - 1))

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, self._count - 1))
        if index == self._cursor:
            return
        old, self._cursor = self._cursor, index
        self._settled = True
        self.settle()
        self.scroll_to_region(Region(0, index, 1, 1), animate=False, force=True)
        self._refresh_row(old)
        self._refresh_row(index)
        self.tick()
        self._tell_selected()

    def on_click(self, event: events.Click) -> None:
        index = event.get_content_offset_capture(self).y + self.scroll_offset.y
        if 0 <= index < self._count:
            self._move_to(index)
            if event.chain == 2:
                self.post_message(self.Chosen())

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, max(1, self._count))
        self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)

    def on_focus(self) -> None:
        self._refresh_row(self._cursor)

    def on_blur(self) -> None:
        self._refresh_row(self._cursor)
