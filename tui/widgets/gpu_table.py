"""The GPUs as a table, a row each."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import DataTable

from engine.gpu_reading import Gpu
from tui.widgets import gpu_words as words
from tui.widgets.glyphs import UNKNOWN, bar, cut, gib, terminal_is_plain
from tui.widgets.gpu_lines import SELECTED, SLOWED, TROUBLE

if TYPE_CHECKING:
    from textual.geometry import Region

PADDING = 2
BAR_FROM, NAME_FROM = 100, 130
LEAST_USERS = 10
Cell = tuple[str, str]
"""Text, and the variable of the theme that has its colour"""


class GpuTable(DataTable[Text]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_down", "down", show=False, id="gpus.down", tooltip="Go to the next GPU"),
        Binding("up,k", "cursor_up", "up", show=False, id="gpus.up", tooltip="Go to the previous GPU"),
        Binding("pagedown", "page_down", "page down", show=False, tooltip="Go down by a page of GPUs"),
        Binding("pageup", "page_up", "page up", show=False, tooltip="Go up by a page of GPUs"),
        Binding("home,g", "scroll_top", "first", show=False, tooltip="Go to the first GPU"),
        Binding("end,G", "scroll_bottom", "last", show=False, tooltip="Go to the last GPU"),
    ]
    DEFAULT_CSS = """
    GpuTable {
        background: transparent; height: auto; overflow-x: hidden;
        & > .datatable--header { background: transparent; color: $text-muted; text-style: none; }
        & > .datatable--cursor { background: $panel; color: $foreground; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        self._filling = False
        """A cell is given its text, and will be painted by itself"""
        super().__init__(id=id, cursor_type="row", cursor_foreground_priority="renderable", cell_padding=1)
        self._plain = terminal_is_plain()
        self._shown: dict[tuple[str, str], Cell] = {}
        """What stands in the table, by row and column"""
        self._widths: dict[str, int] = {}

    def refresh(self, *regions: "Region", repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """`update_cell` would paint the whole table."""
        if self._filling:
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    @property
    def chosen(self) -> int | None:
        """The index of the GPU under the cursor."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return int(self.ordered_rows[self.cursor_row].key.value or 0)

    def show(self, gpus: Sequence[Gpu], mine: Collection[int], first: int = 0, *, stale: bool = False) -> None:
        """Only cells that changed are painted. `first`: where the cursor is to be before anybody has moved it."""
        widths = self._columns(max(0, self.size.width - 1))
        rows = {str(gpu.index): self._row(gpu, gpu.index in mine, widths) for gpu in gpus}
        cells = {(key, column): cell for key, row in rows.items() for column, cell in row.items()}
        if stale:
            cells = {place: (text, "text-muted") for place, (text, _) in cells.items()}
        if cells.keys() != self._shown.keys() or widths != self._widths:
            self._fill(rows, cells, widths, first)
        else:
            for (key, column), cell in cells.items():
                if cell != self._shown[key, column]:
                    self._filling = True
                    self.update_cell(key, column, self._drawn(cell))
                    self._filling = False
                    self.refresh_coordinate(self.get_cell_coordinate(key, column))
        self._shown, self._widths = cells, widths

    def _fill(
        self, rows: Collection[str], cells: dict[tuple[str, str], Cell], widths: dict[str, int], first: int
    ) -> None:
        at = self.chosen if self._shown else first
        self.clear(columns=True)
        for column, width in widths.items():
            self.add_column(Text(column), key=column, width=width)
        for key in rows:
            self.add_row(*(self._drawn(cells[key, column]) for column in widths), key=key)
        if str(at) in rows:
            self.move_cursor(row=list(rows).index(str(at)))

    def _columns(self, width: int) -> dict[str, int]:
        """Those that fit, with their widths."""
        columns = {"GPU": 4, "Load": 5, "Memory": 12}
        if width >= BAR_FROM:
            columns["Share"] = 12
        columns |= {"Temp": 6, "Power": 9}
        if width >= BAR_FROM:
            columns["Clock"] = 8
        if width >= NAME_FROM:
            columns["Kind"] = 22
        rest = width - sum(columns.values()) - PADDING * (len(columns) + 1)
        if rest >= LEAST_USERS:
            columns["Used by"] = rest
        return columns

    def _row(self, gpu: Gpu, mine: bool, widths: dict[str, int]) -> dict[str, Cell]:  # noqa: FBT001
        wrong = words.trouble(gpu)
        mark = TROUBLE if wrong else SELECTED if mine else " "
        row: dict[str, Cell] = {
            "GPU": (f"{mark}{gpu.index:>3}", "text-error" if wrong else "text-accent" if mine else "")
        }
        row["Load"] = (words.load(gpu)[1:], "")
        row["Memory"] = (f"{gib(gpu.memory_used):>5}/{gib(gpu.memory_total, 0)} GiB", "")
        share = gpu.memory_used / gpu.memory_total if gpu.memory_used and gpu.memory_total else 0.0
        row["Share"] = (bar(share, 12, plain=self._plain), "primary")
        row["Temp"] = (f"{words.figure(gpu, 'temperature'):>3} °C", "text-warning" if words.is_hot(gpu) else "")
        limit = f"/{gpu.power_limit:.0f}" if gpu.power_limit else f"/{UNKNOWN}"
        row["Power"] = (f"{words.figure(gpu, 'power'):>3}{limit} W", "")
        row["Clock"] = (f"{words.figure(gpu, 'clock'):>4} MHz", "")
        row["Kind"] = (words.kind(gpu), "text-muted")
        row["Used by"] = self._used(gpu, widths.get("Used by", 0))
        return {column: row[column] for column in widths}

    def _used(self, gpu: Gpu, width: int) -> Cell:
        if gpu.error:
            return cut(words.error(gpu), width), "text-error" if words.is_lost(gpu) else "text-warning"
        grave = words.grave(gpu)
        slows = any(reason in gpu.throttled for reason in grave)
        slowed = f"{SLOWED} {', '.join(gpu.throttled)}" if gpu.throttled else ""
        told = [slowed, *(one for one in grave if one not in gpu.throttled)] if slows else [*grave]
        usual = [slowed] if slowed and not slows else []
        users = words.in_short(words.users(gpu), width - sum(len(part) + 2 for part in (*told, *usual)))
        colour = "text-warning" if told else "text-muted" if users in (words.FREE, words.UNCLAIMED) else ""
        return cut("  ".join(filter(None, (*told, users, *usual))), width), colour

    def _drawn(self, cell: Cell) -> Text:
        text, colour = cell
        return Text(text, style=self.app.theme_variables.get(colour, "") if colour else "", no_wrap=True)
