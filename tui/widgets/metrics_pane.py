"""The pane `Metrics`: how the deployment is, current values, and charts of those that matter."""

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from engine.api import EngineApi
from engine.deployment import Lifecycle
from engine.errors import EngineError
from engine.freshness import Freshness
from engine.metrics_reading import Comparison, Family, MetricsReading
from engine.snapshot import Model, Snapshot
from tui.widgets.metric_charts import MetricCharts
from tui.widgets.metric_comparison import ComparisonPage
from tui.widgets.metric_glance import glance
from tui.widgets.metric_rows import metric_lines
from tui.widgets.metric_table import BESIDE, MOST_TITLE, MetricTable, title_width, value_width
from tui.widgets.metrics_find import FamilyFinder
from tui.widgets.pane import Pane
from tui.widgets.sparks import CELLS

if TYPE_CHECKING:
    from textual.widget import Widget

WINDOWS_S = (60.0, 300.0, 900.0, 3600.0)
CHARTED_AT_FIRST = (
    *("generation", "ttft_p50", "running", "waiting", "kv_cache", "itl_p50"),
    *("finished", "requests", "pending", "e2e_p50", "request_time", "queue_time"),
)
MOST_AT_FIRST = 6
COMPACT_FROM_COLUMNS = 60
LEAST_CHART = 30
LEAST_TITLE_BY_CHART = 16
SPARKS_FROM_COLUMNS = 100
HEADINGS_FROM_ROWS = 12


class Mode(Enum):
    VALUES = "values"
    COMPARISON = "comparison"
    FIND = "find"


class Sentence(Static, can_focus=True):
    """Has the keys until there are metrics: they are the pane's already."""


class MetricsPane(Pane):
    FOCUS = "MetricTable"
    PARTS = (MetricTable, FamilyFinder, ComparisonPage)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "window(-1)", "shorter", id="metrics.shorter", tooltip="Chart a shorter time"),
        Binding("right_square_bracket", "window(1)", "longer", id="metrics.longer", tooltip="Chart a longer time"),
        Binding("slash", "find", "find", id="metrics.find", tooltip="Find any metric that is reported, and pin it"),
        # The screen's own key: it stands early in the key bar here, where charts want room.
        Binding("z", "screen.zoom", "zoom", id="metrics.zoom", tooltip="The whole screen for the charts, or not"),
        Binding(
            "b",
            "compare",
            "before/after",
            id="metrics.compare",
            tooltip="Before and after the last swap or start anew, side by side",
        ),
    ]
    DEFAULT_CSS = """
    MetricsPane {
        & > #metrics-glance { height: 1; padding: 0 1; text-wrap: nowrap; }
        & > #metrics-body { height: 1fr; }
        & > #metrics-note { height: 1; padding: 0 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
        & > #metrics-note.-warning { color: $text-warning; }
        & > #metrics-empty { height: 1fr; padding: 1 2; color: $text-muted; display: none; }
        & > #metrics-empty.-failed { color: $text-error; }
        & > ComparisonPage, & > FamilyFinder { display: none; }
        &.-empty > #metrics-empty { display: block; }
        &.-empty > #metrics-body, &.-empty > #metrics-note { display: none; }
        &.-comparison > ComparisonPage { display: block; }
        &.-find > FamilyFinder { display: block; }
        &.-comparison, &.-find { & > #metrics-body, & > #metrics-note, & > #metrics-empty { display: none; } }
        & MetricTable { height: 100%; }
        &.-no-charts MetricCharts { display: none; }
    }
    """

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._model: Model | None = None
        self._snapshot: Snapshot | None = None
        self._reading: MetricsReading | None = None
        """None while there can be none"""
        self._charted: list[str] | None = None
        """Keys of rows, what matters most first; None until there was something to chart"""
        self._window = 1
        self._mode = Mode.VALUES

    def compose(self) -> ComposeResult:
        yield Static(id="metrics-glance", markup=False)
        yield Sentence(id="metrics-empty", markup=False)
        with Horizontal(id="metrics-body"):
            yield MetricTable()
            yield MetricCharts()
        yield ComparisonPage()
        yield FamilyFinder()
        yield Static(id="metrics-note", markup=False)

    # What is shown

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self.display or not self.is_mounted:
            return
        another = (model.name if model else "") != (self._model.name if self._model else "")
        self._model, self._snapshot = model, snapshot
        if another:
            self._enter(Mode.VALUES)
            self._table.begin_anew()
        why_none = _why_none(model)
        before = self._reading
        self._reading = self.api.metrics(model.name) if model else None
        if why_none and self._reading and not self._reading.series:  # what is kept of before shows, as stale
            self._reading = None
        self._show_glance()
        if self._reading is None:
            self._say(why_none)
        elif another or before is None or not _same(before, self._reading):
            self._show(self._reading)
        if _offers(before) != _offers(self._reading):
            self.refresh_bindings()

    def _show(self, reading: MetricsReading) -> None:
        if self._mode is Mode.FIND:
            self._show_families()
        elif self._mode is Mode.COMPARISON:
            self._show_comparison(reading.comparison)
        if reading.series:
            if self.has_class("-empty"):
                self.remove_class("-empty")
                self._pass_keys(self.query_one(Sentence), self._table)
                self.call_after_refresh(self._show_again)  # what was hidden had no size to be laid out by
            if self._charted is None:
                known = {series.key for series in reading.series}
                self._charted = [key for key in CHARTED_AT_FIRST if key in known][:MOST_AT_FIRST]
            self._show_values(reading)
        elif reading.freshness is Freshness.FAILED:
            self._say(f"▲ {reading.message}", failed=True)
        elif reading.at is not None:
            self._say(f"{reading.message or 'It reports nothing that tritontui knows.'} / finds any metric it reports.")
        else:
            name = self._model.name if self._model else "it"
            self._say(reading.message or f"Waiting for the first metrics of {name} …")

    def _say(self, sentence: str, *, failed: bool = False) -> None:
        """Instead of metrics."""
        empty = self.query_one(Sentence)
        empty.set_class(failed, "-failed")
        _write(empty, sentence)
        if not self.has_class("-empty"):
            self.add_class("-empty")
            self._pass_keys(self._table, empty)

    def _pass_keys(self, before: "Widget", after: "Widget") -> None:
        """What is hidden does not keep the keys."""
        if self.screen.focused is before:
            self.screen.set_focus(after)

    def _show_glance(self) -> None:
        model, reading = self._model, self._reading
        line = self.query_one("#metrics-glance", Static)
        line.display = reading is not None
        if model and self._snapshot and reading:
            _write(line, glance(model, reading, self._snapshot, self.size.width - 2))

    def _show_values(self, reading: MetricsReading) -> None:
        table = self._table
        width = self.size.width
        compact = width >= COMPACT_FROM_COLUMNS
        headings = self.query_one("#metrics-body").size.height >= HEADINGS_FROM_ROWS
        lines = metric_lines(reading.series, compact=compact, headings=headings)
        beside = value_width(lines) + BESIDE
        charts = width - LEAST_CHART - beside >= LEAST_TITLE_BY_CHART
        sparks = not charts or width >= SPARKS_FROM_COLUMNS
        titles = title_width(lines, min(MOST_TITLE, width - beside - LEAST_CHART) if charts else MOST_TITLE)
        self.set_class(not charts, "-no-charts")
        table.styles.width = titles + beside + (CELLS + 1 if sparks else 0) if charts else "1fr"
        table.show(
            lines,
            self._charted or (),
            most_title=titles,
            sparks_s=WINDOWS_S[self._window] if sparks else 0.0,
            stale=reading.freshness is not Freshness.FRESH,
        )
        self._show_charts(reading)
        self._show_note(reading)

    def _show_charts(self, reading: MetricsReading) -> None:
        charts = self.query_one(MetricCharts)
        if charts.display and self._mode is Mode.VALUES:
            table = self._table
            remedy = "" if self.screen.has_class("-zoomed") else "z zooms"
            charts.show(table.rows, self._charted or (), table.row, WINDOWS_S[self._window], reading.marks, remedy)

    def _show_note(self, reading: MetricsReading) -> None:
        note = self.query_one("#metrics-note", Static)
        note.set_class(bool(reading.message), "-warning")
        row = self._table.row
        parts = [f"{round(WINDOWS_S[self._window] / 60)} min"]
        if reading.comparison:
            parts.append("b: before and after")
        if row:
            words = f" ({row.value})" if row.series[0].word else ""
            parts.append(f"{row.name}{words}: {row.source}")
        _write(note, reading.message or " · ".join(parts))

    @on(Resize)
    def _resized(self) -> None:
        self.call_after_refresh(self._show_again)

    def _show_again(self) -> None:
        self._show_glance()
        if self._reading and self.is_attached:
            self._show(self._reading)

    @on(MetricTable.Moved)
    def _moved(self) -> None:
        if self._reading and self._reading.series:
            self._show_charts(self._reading)
            self._show_note(self._reading)

    @property
    def _table(self) -> MetricTable:
        return self.query_one(MetricTable)

    # What keys do

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "compare":
                return bool(self._mode is Mode.VALUES and self._reading and self._reading.comparison)
            case "find":
                return bool(self._mode is Mode.VALUES and self._reading and self._reading.at is not None)
            case "window":
                return bool(self._mode is Mode.VALUES and self._reading and self._reading.series)
        return True

    @on(MetricTable.Picked)
    def _picked(self) -> None:
        row = self._table.row
        if self._reading and self._charted is not None and row:
            others = [key for key in self._charted if key != row.key]
            self._charted = others if row.key in self._charted else [row.key, *others]
            self._show_values(self._reading)

    def action_window(self, step: int) -> None:
        self._window = min(len(WINDOWS_S) - 1, max(0, self._window + step))
        if self._reading:
            self._show_values(self._reading)

    def action_compare(self) -> None:
        if self._reading and self._reading.comparison:
            self._enter(Mode.COMPARISON)
            self._show_comparison(self._reading.comparison)

    def action_find(self) -> None:
        self._enter(Mode.FIND)
        self._show_families()
        self.query_one(FamilyFinder).begin()

    def _enter(self, mode: Mode) -> None:
        if mode is self._mode:
            return
        in_here = self.screen.focused is not None and self in self.screen.focused.ancestors
        self._mode = mode
        for one in Mode:
            self.set_class(one is mode, f"-{one.value}")
        if in_here:
            self.screen.set_focus(self._shown_part if mode is not Mode.FIND else None)
        self.refresh_bindings()

    @property
    def _shown_part(self) -> "Widget":
        """What takes the keys while there is nothing to type."""
        if self._mode is Mode.COMPARISON:
            return self.query_one(ComparisonPage)
        return self.query_one(Sentence) if self.has_class("-empty") else self._table

    @on(ComparisonPage.Closed)
    @on(FamilyFinder.Closed)
    def _back(self) -> None:
        self._enter(Mode.VALUES)
        if self._reading:
            self._show(self._reading)

    def _show_comparison(self, comparison: Comparison | None) -> None:
        if comparison and self._model:
            self.query_one(ComparisonPage).show(comparison, self._model.name)
        elif self._mode is Mode.COMPARISON:
            self._back()

    # Finding and pinning

    def _show_families(self) -> None:
        if self._model:
            self.query_one(FamilyFinder).show(self.api.families(self._model.name))

    @on(FamilyFinder.Picked)
    def _family_picked(self, event: FamilyFinder.Picked) -> None:
        if self._model:
            self._pin(self._model.name, event.family)

    @work(thread=True, group="pin")
    def _pin(self, name: str, family: Family) -> None:
        try:
            self.api.pin(name, family.name, pinned=not family.pinned)
        except EngineError as error:
            self.app.call_from_thread(self.notify, str(error), severity="warning", markup=False)
        else:
            self.app.call_from_thread(self._show_again)


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


def _offers(reading: MetricsReading | None) -> tuple[bool, ...]:
    """What the keys that can be used depend on."""
    if reading is None:
        return ()
    return bool(reading.series), reading.at is not None, reading.comparison is not None


def _same(one: MetricsReading, other: MetricsReading) -> bool:
    return one is other or _facts(one) == _facts(other)


def _facts(reading: MetricsReading) -> tuple[object, ...]:
    """What is another with each scrape, and with each change of what is shown."""
    first = reading.series[0] if reading.series else None
    last = first.times[-1] if first and first.times else None
    return reading.at, reading.freshness, reading.message, len(reading.series), last, reading.marks, reading.comparison


def _write(widget: Static, text: str | Content) -> None:
    if widget.content != text:
        widget.update(text)
