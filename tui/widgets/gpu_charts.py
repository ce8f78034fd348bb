"""Charts of one GPU: utilization, memory, power, temperature, and traffic where there is room."""

from collections.abc import Mapping, Sequence

from textual.containers import Container
from textual.events import Resize
from textual.widgets import Static

from engine.metrics_reading import Series
from tui.widgets.chart import Chart
from tui.widgets.metric_rows import MetricRow

WINDOWS_S = (60.0, 300.0, 900.0, 3600.0)
MOST = 8
CHART_COLUMNS, CHART_ROWS = 36, 5
"""The smallest space in which one more chart is worth it"""


class GpuCharts(Container):
    DEFAULT_CSS = """
    GpuCharts {
        layout: grid; grid-gutter: 0 1;
        & > Static { color: $text-muted; padding: 0 1; }
        & > Chart { display: none; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(Static("Nothing has been measured yet.", markup=False), *(Chart() for _ in range(MOST)), id=id)
        self._series: Sequence[Series] = ()
        self._limits: Mapping[str, float | None] = {}
        self._window = 1
        self._now = 0.0

    @property
    def window_s(self) -> float:
        return WINDOWS_S[self._window]

    def widen(self, step: int) -> None:
        self._window = min(len(WINDOWS_S) - 1, max(0, self._window + step))
        self._draw()

    def show(self, series: Sequence[Series], now: float, limits: Mapping[str, float | None]) -> None:
        """`now`: seconds since the epoch. `limits`: the most that a figure can be, by the key of its series."""
        self._series, self._now, self._limits = series, now, limits
        self._draw()

    def on_resize(self, _: Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        most_across = max(1, self.size.width // CHART_COLUMNS)
        down = max(1, self.size.height // CHART_ROWS)
        series = [one for one in self._series if any(value is not None for value in one.values)]
        shown = series[: min(MOST, most_across * down)]
        across = min(most_across, 1 if len(shown) <= 1 else 2 if len(shown) <= 4 else 3)
        if -(-len(shown) // across) > down:
            across = most_across
        self.styles.grid_size_columns = across
        self.query_one(Static).display = not shown
        for number, chart in enumerate(self.query(Chart)):
            chart.display = number < len(shown)
            if chart.display:
                one = shown[number]
                chart.show(MetricRow(one.title, (one,)), self.window_s, self._now, most=self._limits.get(one.key))
