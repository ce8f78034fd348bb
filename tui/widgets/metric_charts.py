"""The charts beside the list of metrics: as many as have room, and always the one under the cursor."""

from collections.abc import Callable, Sequence
from functools import partial

from textual.app import ComposeResult
from textual.containers import Container

from engine.metrics_reading import Mark
from tui import format as fmt
from tui.widgets.chart import Chart
from tui.widgets.metric_rows import MetricRow

MOST = 6
COLUMNS, ROWS = 44, 8
"""The smallest space in which one more chart is worth it"""

COMFORTABLE_ROWS = 11
"""They stand beside each other rather than be lower"""


class MetricCharts(Container):
    DEFAULT_CSS = """
    MetricCharts {
        layout: grid; grid-gutter: 0 1; width: 1fr; height: 100%; padding: 0 0 0 1;
        & > Chart { display: none; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._show: Callable[[], None] = lambda: None

    def compose(self) -> ComposeResult:
        for _ in range(MOST):
            yield Chart()

    def show(
        self,
        rows: Sequence[MetricRow],
        charted: Sequence[str],
        under_cursor: MetricRow | None,
        window_s: float,
        marks: Sequence[Mark],
        remedy: str,
    ) -> None:
        """`remedy`: what gives the charts more room."""
        self._show = partial(self.show, rows, charted, under_cursor, window_s, marks, remedy)
        columns = max(1, self.size.width // COLUMNS)
        deep = max(1, self.size.height // ROWS)
        chosen = _chosen(rows, charted, under_cursor, min(MOST, columns * deep))
        across = max(1, min(columns, -(-len(chosen) // max(1, self.size.height // COMFORTABLE_ROWS))))
        if self.styles.grid_size_columns != across:
            self.styles.grid_size_columns = across
        now = fmt.now()
        for number, chart in enumerate(self.query(Chart)):
            chart.display = number < len(chosen)
            if chart.display:
                chart.show(chosen[number], window_s, now, marks, remedy=remedy)

    def on_resize(self) -> None:
        self._show()


def _chosen(
    rows: Sequence[MetricRow], charted: Sequence[str], under_cursor: MetricRow | None, room: int
) -> list[MetricRow]:
    known = {row.key: row for row in rows}
    chosen = [known[key] for key in charted if key in known][:room]
    if under_cursor and all(row.key != under_cursor.key for row in chosen):
        chosen = [*chosen[: room - 1], under_cursor]
    return chosen
