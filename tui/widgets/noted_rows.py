"""A table of short cells with a long note to each row: beside them where there is room, and otherwise below."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

WIDE = 90
INDENT = 4
GAP = "  "


@dataclass(frozen=True, slots=True)
class NotedRow:
    cells: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class NotedRows:
    """A Rich renderable; all rows have equally many cells."""

    rows: Sequence[NotedRow]
    note_style: Style
    right: tuple[int, ...] = ()
    """Columns that are aligned at the right"""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [max(map(cell_len, column)) for column in zip(*(row.cells for row in self.rows), strict=True)]
        beside = Table.grid(padding=(0, 2, 0, 0))
        beside.add_column(no_wrap=True)
        beside.add_column(overflow="fold", style=self.note_style)
        for row in self.rows:
            line = Text(GAP.join(self._filled(column, row.cells[column], width) for column, width in enumerate(widths)))
            if options.max_width >= WIDE:
                beside.add_row(line, Text(row.note))
                continue
            yield line
            if row.note:
                yield Padding(Text(row.note, style=self.note_style, overflow="fold"), (0, 0, 0, INDENT))
        if beside.row_count:
            yield beside

    def _filled(self, column: int, text: str, width: int) -> str:
        spaces = " " * (width - cell_len(text))
        return spaces + text if column in self.right else text + spaces
