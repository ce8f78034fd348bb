"""The metrics pane: values, charts, keys, and what it says when there is nothing to show."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Footer, Static

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading, Series
from engine.snapshot import Model, Snapshot
from tui import format as fmt
from tui.widgets.chart import Chart
from tui.widgets.metrics_pane import MetricsPane, MetricTable
from tui.widgets.plotting import Drawing, Plot, draw

NOW = 1_000_000.0
SNAPSHOT = Snapshot(at=NOW, hostname="box", loading=False)
SERVICE = Service(
    protocol=Protocol.OPENAI,
    http="http://127.0.0.1:8000",
    health="http://127.0.0.1:8000/health",
    metrics="http://127.0.0.1:8000/metrics",
)
DEPLOYMENT = Deployment(
    name="llama",
    runtime="docker",
    stack="vllm",
    id="1",
    what="image",
    lifecycle=Lifecycle.RUNNING,
    service=SERVICE,
    created_at=NOW - 1000,
)
MODEL = Model(name="llama", state=State.READY, deployment=DEPLOYMENT)
TIMES = tuple(NOW - 900 + second for second in range(1, 901))


def _series(key: str, value: float | None = 5.0, unit: str = "") -> Series:
    title = key.capitalize()
    return Series(key, title, unit, value, f"source of {key}", TIMES, tuple(value for _ in TIMES))


SERIES = (
    _series("running", 7.0),
    _series("waiting", 0.0),
    _series("kv_cache", 50.0, "%"),
    _series("generation", 1200.0, "tok/s"),
    _series("ttft_p50", 0.05, "s"),
    _series("prefix_hits", None, "%"),
)
READING = MetricsReading(at=NOW, freshness=Freshness.FRESH, url=SERVICE.metrics or "", series=SERIES)


class FakeApi:
    """Only what this pane may ask for."""

    def __init__(self, reading: MetricsReading = READING) -> None:
        self.reading = reading
        self.asked: list[str] = []

    def metrics(self, name: str) -> MetricsReading:
        self.asked.append(name)
        return self.reading


class Console(App[None]):
    def __init__(self, api: FakeApi) -> None:
        super().__init__()
        self.pane = MetricsPane(api)  # type: ignore[arg-type]

    def compose(self) -> ComposeResult:
        yield self.pane
        yield Footer()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fmt, "now", lambda: NOW)


async def _settle(pilot: Pilot[None], pane: MetricsPane) -> None:
    await pilot.pause()
    async with asyncio.timeout(10):
        while list(pane.app.workers):
            await pilot.app.workers.wait_for_complete()
            await pilot.pause()


def _rows(pane: MetricsPane) -> list[list[str]]:
    table = pane.query_one(MetricTable)
    return [[cell.plain for cell in table.get_row_at(row)] for row in range(table.row_count)]


def _charts(pane: MetricsPane) -> list[str]:
    """The visible charts as text."""
    charts = [chart for chart in pane.query(Chart) if chart.display]
    return ["\n".join(chart.render_line(y).text for y in range(chart.size.height)) for chart in charts]


def _said(pane: MetricsPane) -> str:
    assert pane.has_class("-empty")
    return str(pane.query_one("#metrics-empty", Static).content)


async def test_values_and_charts() -> None:
    app = Console(FakeApi())
    async with app.run_test(size=(140, 44)) as pilot:
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        rows = _rows(app.pane)
        assert [row[1].strip() for row in rows] == ["7", "0", "50 %", "1200 tok/s", "50 ms", "–"]
        assert all(len(row) == 3 for row in rows)
        charts = _charts(app.pane)
        assert [chart.split()[0] for chart in charts] == ["Running", "Kv_cache", "Generation", "Ttft_p50"]
        assert "now" in charts[0]
        assert "-5m" in charts[0]
        assert "tok/s" in charts[2]


async def test_a_small_terminal_shows_the_metric_under_the_cursor() -> None:
    app = Console(FakeApi())
    async with app.run_test(size=(78, 13)) as pilot:
        app.pane.show_model(MODEL, SNAPSHOT)
        app.pane.query_one(MetricTable).focus()
        await pilot.press("down", "j", "j", "k")
        await _settle(pilot, app.pane)
        assert all(len(row) == 2 for row in _rows(app.pane))
        (chart,) = _charts(app.pane)
        assert chart.split()[0] == "Kv_cache"
        assert "⠉" in chart or "⣀" in chart or "⠤" in chart or "⠒" in chart
        note = str(app.pane.query_one("#metrics-note", Static).content)
        assert note == "last 5 min · Kv_cache: source of kv_cache"


async def test_keys_pin_metrics_and_change_the_window() -> None:
    app = Console(FakeApi())
    async with app.run_test(size=(140, 44)) as pilot:
        app.pane.show_model(MODEL, SNAPSHOT)
        app.pane.query_one(MetricTable).focus()
        await pilot.press("enter")
        assert not _rows(app.pane)[0][0].startswith("▪")
        await pilot.press("down", "enter")
        await _settle(pilot, app.pane)
        assert _rows(app.pane)[1][0].startswith("▪")
        assert [chart.split()[0] for chart in _charts(app.pane)] == ["Waiting", "Kv_cache", "Generation", "Ttft_p50"]
        await pilot.press("left_square_bracket", "left_square_bracket")
        await _settle(pilot, app.pane)
        assert all("-1m" in chart for chart in _charts(app.pane))
        await pilot.press(*["right_square_bracket"] * 5)
        await _settle(pilot, app.pane)
        assert all("-15m" in chart for chart in _charts(app.pane))


async def test_a_new_scrape_touches_only_cells_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    app = Console(api)
    async with app.run_test(size=(140, 44)) as pilot:
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        table = app.pane.query_one(MetricTable)
        touched: list[tuple[str, str]] = []
        update = table.update_cell

        def record(row: str, column: str, value: object) -> None:
            touched.append((row, column))
            update(row, column, value)  # type: ignore[arg-type]

        monkeypatch.setattr(table, "update_cell", record)
        app.pane.show_model(MODEL, SNAPSHOT)
        assert touched == []
        api.reading = replace(READING, at=NOW + 1, series=(replace(SERIES[0], value=8.0), *SERIES[1:]))
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        assert touched == [("running", "value")]
        assert _charts(app.pane)[0].split("\n")[0].split() == ["Running", "8"]


async def test_metrics_are_not_asked_for_while_hidden() -> None:
    api = FakeApi()
    app = Console(api)
    async with app.run_test() as pilot:
        app.pane.display = False
        app.pane.show_model(MODEL, SNAPSHOT)
        await pilot.pause()
        assert api.asked == []
        app.pane.display = True
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        assert api.asked == ["llama"]
        assert len(_rows(app.pane)) == len(SERIES)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (None, "No model is selected."),
        (replace(MODEL, deployment=None), "llama has not been started."),
        (replace(MODEL, deployment=replace(DEPLOYMENT, lifecycle=Lifecycle.EXITED)), "llama is not running."),
        (
            replace(MODEL, deployment=replace(DEPLOYMENT, service=replace(SERVICE, metrics=None))),
            "llama exposes no metrics",
        ),
    ],
)
async def test_why_a_model_has_no_metrics(model: Model | None, sentence: str) -> None:
    api = FakeApi()
    app = Console(api)
    async with app.run_test():
        app.pane.show_model(model, SNAPSHOT)
        assert sentence in _said(app.pane)
        assert api.asked == []


async def test_loading_failed_then_values_then_stale() -> None:
    api = FakeApi(MetricsReading(at=None, freshness=Freshness.LOADING))
    app = Console(api)
    async with app.run_test(size=(140, 44)) as pilot:
        app.pane.show_model(MODEL, SNAPSHOT)
        assert _said(app.pane).startswith("Waiting for the first metrics of llama")
        api.reading = MetricsReading(at=None, freshness=Freshness.FAILED, message="It refused the [connection].")
        app.pane.show_model(MODEL, SNAPSHOT)
        assert _said(app.pane) == "▲ It refused the [connection]."
        api.reading = READING
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        assert not app.pane.has_class("-empty")
        assert len(_charts(app.pane)) == 4
        api.reading = replace(READING, freshness=Freshness.STALE, message="No metrics since 12:00:00.")
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        note = app.pane.query_one("#metrics-note", Static)
        assert str(note.content) == "No metrics since 12:00:00."
        assert note.has_class("-warning")
        assert _rows(app.pane)[0][1].strip() == "7"


async def test_a_series_without_values_says_so() -> None:
    app = Console(FakeApi(replace(READING, series=(SERIES[-1],))))
    async with app.run_test(size=(100, 20)) as pilot:
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        (chart,) = _charts(app.pane)
        assert "no values in the last 5 min" in chart


# Plots

PLOT = Plot(
    times=tuple(float(second) for second in range(301)),
    values=tuple(50.0 if second < 100 or second > 200 else None for second in range(301)),
    unit="%",
    window_s=300.0,
    end=300.0,
    width=63,
    height=11,
)


def _curve(drawing: Drawing) -> list[str]:
    return [row[drawing.margin :] for row in drawing.rows[:-2]]


def test_gaps_are_gaps_and_the_curve_reaches_both_ends() -> None:
    drawing = draw(PLOT)
    assert drawing is not None
    assert all(len(row) == PLOT.width for row in drawing.rows)
    drawn = ["".join(column).strip() != "" for column in zip(*_curve(drawing), strict=True)]
    third = len(drawn) // 3
    assert drawn[0]
    assert drawn[-1]
    assert all(drawn[1 : third - 1])
    assert not any(drawn[third + 2 : 2 * third - 2])
    assert all(drawn[2 * third + 2 :])


def test_points_far_apart_are_not_joined() -> None:
    drawing = draw(replace(PLOT, times=(0.0, 300.0), values=(10.0, 10.0)))
    assert drawing is not None
    assert sum("".join(column).strip() != "" for column in zip(*_curve(drawing), strict=True)) == 2


def test_plain_terminals_get_ascii() -> None:
    drawing = draw(replace(PLOT, plain=True))
    assert drawing is not None
    assert all(row.isascii() for row in drawing.rows)
    assert any("*" in row for row in drawing.rows)


def test_nothing_to_draw_or_no_room() -> None:
    assert draw(replace(PLOT, values=(None,) * 301)) is None
    assert draw(replace(PLOT, times=(), values=())) is None
    assert draw(replace(PLOT, width=5)) is None


@pytest.mark.parametrize(
    ("largest", "unit", "top", "shown_unit"),
    [
        (0.0, "req/s", "1", "req/s"),
        (0.0123, "s", "15", "ms"),
        (2.2, "s", "3", "s"),
        (37.0, "%", "100", "%"),
        (7.0, "", "8", ""),
        (43_210.0, "tok/s", "50", "k tok/s"),
        (float(30 << 30), "bytes", "30", "GiB"),
    ],
)
def test_the_axis_ends_at_a_round_number(largest: float, unit: str, top: str, shown_unit: str) -> None:
    drawing = draw(replace(PLOT, values=(largest,) * 301, unit=unit))
    assert drawing is not None
    assert drawing.rows[0].split("┤")[0].strip() == top
    assert drawing.unit == shown_unit


def test_threads_do_not_disturb_each_other() -> None:
    plots = [replace(PLOT, values=tuple(float(number * 10) for _ in range(301))) for number in range(8)] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, plots)) == [draw(plot) for plot in plots]
