"""The pane `Metrics`: current values, and charts of those that matter."""

from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.events import Resize
from textual.widgets import DataTable, Static

from engine.api import EngineApi
from engine.deployment import Lifecycle
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading, Series
from engine.snapshot import Model, Snapshot
from tui import format as fmt
from tui.widgets.chart import Chart
from tui.widgets.glyphs import sparkline, terminal_is_plain, with_unit
from tui.widgets.pane import Pane

WINDOWS_S = (60.0, 300.0, 900.0)
MOST_CHARTS = 4
CHART_COLUMNS, CHART_ROWS = 44, 8
"""The smallest space in which one more chart is worth it"""
SPARK_WIDTH = 8
SPARKS_FROM_COLUMNS = 100
VALUE_WIDTH = 12
LEAST_CHART_WIDTH = 30
PINNED_AT_FIRST = ("generation", "ttft_p50", "running", "kv_cache", "requests", "request_time", "queue_time", "pending")
PIN = "▪"


class MetricTable(DataTable[Text]):
    """The list of metrics."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "select_cursor",
            "pin",
            id="metrics.pin",
            tooltip="Keep the metric among the charts, or not",
        ),
        Binding("down,j", "cursor_down", "down", show=False, id="metrics.down", tooltip="Go to the next metric"),
        Binding("up,k", "cursor_up", "up", show=False, id="metrics.up", tooltip="Go to the previous metric"),
        Binding("pagedown", "page_down", "page down", show=False, tooltip="Go down by a page"),
        Binding("pageup", "page_up", "page up", show=False, tooltip="Go up by a page"),
        Binding("home,g", "scroll_top", "first", show=False, tooltip="Go to the first metric"),
        Binding("end,G", "scroll_bottom", "last", show=False, tooltip="Go to the last metric"),
    ]


class MetricsPane(Pane):
    FOCUS = "MetricTable"
    PARTS = (MetricTable,)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "window(-1)", "shorter", id="metrics.shorter", tooltip="Chart a shorter time"),
        Binding("right_square_bracket", "window(1)", "longer", id="metrics.longer", tooltip="Chart a longer time"),
    ]
    DEFAULT_CSS = """
    MetricsPane {
        & > #metrics-body { height: 1fr; }
        & > #metrics-note { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        & > #metrics-note.-warning { color: $text-warning; }
        & > #metrics-empty { height: 1fr; padding: 1 2; color: $text-muted; display: none; }
        & > #metrics-empty.-failed { color: $text-error; }
        &.-empty > #metrics-empty { display: block; }
        &.-empty > #metrics-body, &.-empty > #metrics-note { display: none; }
        & MetricTable { width: auto; min-width: 24; height: 100%; scrollbar-size-vertical: 1; background: transparent; }
        &.-no-charts { & MetricTable { width: 1fr; } & #metrics-charts { display: none; } }
        & #metrics-charts { layout: grid; grid-gutter: 0 1; width: 1fr; height: 100%; padding: 0 0 0 1; }
        & Chart { display: none; }
    }
    """

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._plain = terminal_is_plain()
        self._model_name = ""
        self._reading: MetricsReading | None = None
        self._cells: dict[tuple[str, str], str] = {}
        """What the table shows, by row and column"""
        self._pinned: set[str] | None = None
        """None until there was something to pin"""
        self._window = 1

    def compose(self) -> ComposeResult:
        yield Static(id="metrics-empty", markup=False)
        with Horizontal(id="metrics-body"):
            yield MetricTable(cursor_type="row", show_header=False, cell_padding=1, zebra_stripes=False)
            with Container(id="metrics-charts"):
                for _ in range(MOST_CHARTS):
                    yield Chart()
        yield Static(id="metrics-note", markup=False)

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self.display or not self.is_mounted:
            return
        why_none = _why_none(model)
        if model is None or why_none:
            self._reading = None
            self._say(why_none)
            return
        reading = self.api.metrics(model.name)
        if model.name != self._model_name:
            self._model_name = model.name
        elif self._reading is not None and _same(self._reading, reading):
            return
        self._reading = reading
        if reading.series:
            self._show(reading)
        elif reading.freshness is Freshness.FAILED:
            self._say(f"▲ {reading.message}", failed=True)
        else:
            self._say(reading.message or f"Waiting for the first metrics of {model.name} …")

    @on(Resize)
    def _resized(self) -> None:
        self._cells.clear()
        if self._reading and self._reading.series:
            self.call_after_refresh(self._show, self._reading)

    @on(MetricTable.RowHighlighted)
    def _highlighted(self) -> None:
        if self._reading:
            self._show_charts(self._reading)
            self._show_note(self._reading)

    @on(MetricTable.RowSelected)
    def _selected(self) -> None:
        key = self._highlighted_key
        if self._reading and self._pinned is not None and key:
            self._pinned ^= {key}
            self._show(self._reading)

    def action_window(self, step: int) -> None:
        self._window = min(len(WINDOWS_S) - 1, max(0, self._window + step))
        if self._reading:
            self._show_charts(self._reading)
            self._show_note(self._reading)

    @property
    def _table(self) -> MetricTable:
        return self.query_one(MetricTable)

    @property
    def _highlighted_key(self) -> str | None:
        table = self._table
        return table.ordered_rows[table.cursor_row].key.value if table.is_valid_row_index(table.cursor_row) else None

    def _say(self, sentence: str, *, failed: bool = False) -> None:
        """Instead of metrics."""
        empty = self.query_one("#metrics-empty", Static)
        empty.set_class(failed, "-failed")
        empty.update(sentence)
        self.add_class("-empty")

    def _show(self, reading: MetricsReading) -> None:
        self.remove_class("-empty")
        if self._pinned is None:
            known = {series.key for series in reading.series}
            self._pinned = set([key for key in PINNED_AT_FIRST if key in known][:MOST_CHARTS])
        self._show_table(reading)
        self._show_charts(reading)
        self._show_note(reading)

    def _show_table(self, reading: MetricsReading) -> None:
        """Only cells that changed are touched: each costs a repaint."""
        table = self._table
        titles = max(len(series.title) for series in reading.series) + 2
        charts = self.size.width - titles - VALUE_WIDTH - 6 >= LEAST_CHART_WIDTH
        self.set_class(not charts, "-no-charts")
        sparks = not charts or self.size.width >= SPARKS_FROM_COLUMNS
        columns = {"title": titles, "value": VALUE_WIDTH, "spark": SPARK_WIDTH + 1}
        rows = {series.key: self._row(series, sparks=sparks) for series in reading.series}
        cells = {(key, column): text for key, row in rows.items() for column, text in row.items()}
        if cells.keys() != self._cells.keys():
            key = self._highlighted_key
            table.clear(columns=True)
            for column, width in columns.items():
                if column != "spark" or sparks:
                    table.add_column("", key=column, width=width)
            for row_key, row in rows.items():
                table.add_row(*(self._cell(reading, column, text) for column, text in row.items()), key=row_key)
            if key in rows:
                table.move_cursor(row=list(rows).index(key))
        else:
            for (row_key, column), text in cells.items():
                if text != self._cells[row_key, column]:
                    table.update_cell(row_key, column, self._cell(reading, column, text))
        self._cells = cells

    def _row(self, series: Series, *, sparks: bool) -> dict[str, str]:
        mark = PIN if self._pinned and series.key in self._pinned else " "
        row = {"title": f"{mark} {series.title}", "value": f"{with_unit(series.value, series.unit)} "}
        if sparks:
            recent = series.values[-SPARK_WIDTH:]
            top = 100.0 if series.unit == "%" else max((value for value in recent if value is not None), default=0.0)
            row["spark"] = sparkline(recent, SPARK_WIDTH, top, plain=self._plain)
        return row

    def _cell(self, reading: MetricsReading, column: str, text: str) -> Text:
        dim = column == "spark" or reading.freshness is not Freshness.FRESH
        return Text(text, style="dim" if dim else "", justify="right" if column == "value" else "left")

    def _show_charts(self, reading: MetricsReading) -> None:
        area = self.query_one("#metrics-charts", Container)
        columns = min(2, max(1, area.size.width // CHART_COLUMNS))
        rows = max(1, area.size.height // CHART_ROWS)
        chosen = self._chosen(reading, min(MOST_CHARTS, columns * rows))
        area.styles.grid_size_columns = 1 if len(chosen) <= min(rows, 2) else columns
        now = fmt.now()
        for number, chart in enumerate(self.query(Chart)):
            chart.display = number < len(chosen)
            if chart.display:
                chart.show(chosen[number], WINDOWS_S[self._window], now)

    def _chosen(self, reading: MetricsReading, room: int) -> list[Series]:
        """The pinned ones that have room, and always the one under the cursor."""
        under_cursor = next((series for series in reading.series if series.key == self._highlighted_key), None)
        chosen = [series for series in reading.series if self._pinned and series.key in self._pinned][:room]
        if under_cursor and under_cursor not in chosen:
            chosen = [*chosen[: room - 1], under_cursor]
        return chosen

    def _show_note(self, reading: MetricsReading) -> None:
        note = self.query_one("#metrics-note", Static)
        stale = reading.freshness is not Freshness.FRESH
        note.set_class(stale, "-warning")
        under_cursor = next((series for series in reading.series if series.key == self._highlighted_key), None)
        source = f"{under_cursor.title}: {under_cursor.source}" if under_cursor else ""
        minutes = round(WINDOWS_S[self._window] / 60)
        text = reading.message if stale else f"last {minutes} min · {source}"
        if note.content != text:
            note.update(text)


def _why_none(model: Model | None) -> str:
    """Why the model can have no metrics; empty when it can."""
    if model is None:
        return "No model is selected."
    if model.deployment is None:
        return f"{model.name} has not been started. Its metrics show here while it runs."
    if model.deployment.service.metrics is None:
        return f"{model.name} exposes no metrics: its profile gives no metrics port."
    if model.deployment.lifecycle is not Lifecycle.RUNNING:
        return f"{model.name} is not running. Its metrics show here while it runs."
    return ""


def _same(one: MetricsReading, other: MetricsReading) -> bool:
    return (one.at, one.freshness, one.message, _last_time(one)) == (
        other.at,
        other.freshness,
        other.message,
        _last_time(other),
    )


def _last_time(reading: MetricsReading) -> float | None:
    return reading.series[0].times[-1] if reading.series and reading.series[0].times else None
