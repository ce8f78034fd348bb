"""The metrics pane: values, charts, keys, and what it says when there is nothing to show."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Footer, Static

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.errors import NotFound
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading
from engine.metrics_reading import Bound, Compared, Comparison, Family, Group, Mark, MetricsReading, Series
from engine.snapshot import Model, Snapshot
from tui import format as fmt
from tui.widgets.chart import Chart
from tui.widgets.metric_comparison import changed
from tui.widgets.metric_rows import Heading, MetricRow, metric_lines
from tui.widgets.metric_table import MetricTable
from tui.widgets.metrics_find import FamilyFinder
from tui.widgets.metrics_pane import MetricsPane
from tui.widgets.plotting import Curve, Drawing, Plot, draw
from tui.widgets.sparks import LIST_CELL_S, ListSparks, spark

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


def _series(key: str, value: float | None = 5.0, unit: str = "", group: Group = Group.REQUESTS, of: str = "") -> Series:
    title = key.replace("_p", " p").capitalize()
    key = f"{key}/{of}" if of else key
    return Series(key, title, unit, value, f"source of {key}", TIMES, tuple(value for _ in TIMES), group, of)


TTFT = tuple(
    replace(_series(f"ttft_p{percent}", value, "s", Group.LATENCY), source=f"p{percent} of ttft")
    for percent, value in ((50, 0.05), (90, 0.1), (99, 0.4))
)
SERIES = (
    _series("running", 7.0),
    _series("waiting", 0.0),
    *TTFT,
    _series("generation", 1200.0, "tok/s", Group.TOKENS),
    _series("kv_cache", 50.0, "%", Group.CACHE),
    _series("prefix_hits", None, "%", Group.CACHE),
)
READING = MetricsReading(at=NOW, freshness=Freshness.FRESH, url=SERVICE.metrics or "", series=SERIES)
SWAP = Mark(NOW - 120, "swap mixtral → llama")
COMPARISON = Comparison(
    SWAP,
    "mixtral",
    600.0,
    110.0,
    (
        Compared("ttft_p50", "TTFT p50", "s", 0.2, 0.1),
        Compared("failed", "Failed", "req/s", 0.0, 0.5),
        Compared("generation", "Generated", "tok/s", 800.0, 1200.0),
        Compared("kv_cache", "KV cache", "%", None, 50.0),
    ),
)
FAMILIES = (
    Family("vllm:lora_requests_info", "gauge", "Running stats on LoRA requests.", 1),
    Family("vllm:num_requests_running", "gauge", "Number of requests in execution batches.", 1),
    Family("vllm:prompt_tokens", "counter", "Number of prefill tokens processed.", 2),
)


class FakeApi:
    """Only what this pane may ask for."""

    def __init__(self, reading: MetricsReading = READING) -> None:
        self.reading = reading
        self.asked: list[str] = []
        self.pinned: set[str] = set()
        self.pin_error = ""

    def metrics(self, name: str) -> MetricsReading:
        self.asked.append(name)
        return self.reading

    def families(self, name: str) -> Sequence[Family]:
        return [replace(one, pinned=one.name in self.pinned) for one in FAMILIES]

    def pin(self, name: str, family: str, *, pinned: bool) -> None:
        if self.pin_error:
            raise NotFound(self.pin_error)
        self.pinned = self.pinned | {family} if pinned else self.pinned - {family}


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
    """Until nothing is drawn any more; a drawing gives way to a newer one of the same chart."""
    await pilot.pause()
    async with asyncio.timeout(10):
        while list(pane.app.workers):
            await pilot.pause(0.01)


async def _open(pilot: Pilot[None], pane: MetricsPane, model: Model = MODEL, snapshot: Snapshot = SNAPSHOT) -> None:
    pane.show_model(model, snapshot)
    pane.query_one(MetricTable).focus()
    await _settle(pilot, pane)


def _lines(pane: MetricsPane) -> list[str]:
    """The visible ones of the list of metrics."""
    table = pane.query_one(MetricTable)
    return [text for y in range(table.size.height) if (text := table.render_line(y).text.rstrip())]


def _line(pane: MetricsPane, title: str) -> list[str]:
    """A line's words without the cursor."""
    return next(line.replace("▌", " ").split() for line in _lines(pane) if title in line)


def _charts(pane: MetricsPane) -> list[str]:
    """The visible charts as text."""
    charts = [chart for chart in pane.query(Chart) if chart.display]
    return ["\n".join(chart.render_line(y).text for y in range(chart.size.height)) for chart in charts]


def _charted(pane: MetricsPane) -> list[str]:
    return [chart.split()[0] for chart in _charts(pane)]


def _text(pane: MetricsPane, part: str) -> str:
    return str(pane.query_one(f"#metrics-{part}", Static).content)


def _said(pane: MetricsPane) -> str:
    assert pane.has_class("-empty")
    return _text(pane, "empty")


def _screen(pane: MetricsPane) -> str:
    return "\n".join("".join(segment.text for segment in strip) for strip in pane.screen._compositor.render_strips())


async def test_values_in_groups_and_charts_with_quantiles_of_one_idea_together() -> None:
    app = Console(FakeApi())
    async with app.run_test(size=(140, 44)) as pilot:
        await _open(pilot, app.pane)
        shown = [line.split("  ")[0].strip(" ▌▪") for line in _lines(app.pane)]
        assert [line for line in shown if line][:4] == ["Requests", "Running", "Waiting", "Latency"]
        assert _line(app.pane, "Latency") == ["Latency", "p50", "/", "p90", "/", "p99"]
        assert _line(app.pane, "Ttft")[1:8] == ["Ttft", "50", "/", "100", "/", "400", "ms"]
        assert _line(app.pane, "Generation")[1:4] == ["Generation", "1200", "tok/s"]
        assert _line(app.pane, "Prefix_hits")[:2] == ["Prefix_hits", "–"]
        assert _charted(app.pane) == ["Generation", "Ttft", "Running", "Waiting", "Kv_cache"]
        charts = _charts(app.pane)
        assert "now" in charts[0]
        assert "-5m" in charts[0]
        assert "tok/s" in charts[0]
        assert "p50 / p90 / p99" in charts[1]


@pytest.mark.parametrize("size", [(80, 24), (78, 13)])
async def test_a_small_terminal_shows_the_values_and_the_chart_of_the_one_under_the_cursor(
    size: tuple[int, int],
) -> None:
    app = Console(FakeApi())
    async with app.run_test(size=size) as pilot:
        await _open(pilot, app.pane)
        await pilot.press("down", "j", "j", "k")
        await _settle(pilot, app.pane)
        chart = _charts(app.pane)[-1]
        assert chart.split()[0] == "Ttft"
        assert "50 / 100 / 400 ms" in chart
        assert any(dots in chart for dots in "⠉⣀⠤⠒")
        assert _text(app.pane, "note") == "5 min · Ttft: p50/90/99 of ttft"
        assert any("50 / 100 / 400 ms" in line for line in _lines(app.pane))


async def test_the_narrowest_terminal_has_a_line_for_each_quantile_and_no_charts() -> None:
    app = Console(FakeApi())
    async with app.run_test(size=(50, 20)) as pilot:
        await _open(pilot, app.pane)
        assert _line(app.pane, "Ttft p90")[:4] == ["Ttft", "p90", "100", "ms"]
        assert app.pane.has_class("-no-charts")


async def test_keys_choose_what_is_charted_and_change_the_window() -> None:
    app = Console(FakeApi())
    async with app.run_test(size=(140, 44)) as pilot:
        await _open(pilot, app.pane)
        assert _line(app.pane, "Running")[0] == "▪"
        await pilot.press("enter")
        assert _line(app.pane, "Running")[0] == "Running"
        await pilot.press("j", "j", "j", "j", "j", "enter")
        await _settle(pilot, app.pane)
        assert _line(app.pane, "Prefix_hits")[0] == "▪"
        assert _charted(app.pane)[0] == "Prefix_hits", "what was chosen last comes first"
        for keys, shown in ((2 * ["left_square_bracket"], "-1m"), (5 * ["right_square_bracket"], "-60m")):
            await pilot.press(*keys)
            await _settle(pilot, app.pane)
            assert all(shown in chart for chart in _charts(app.pane)[1:])


async def test_a_new_scrape_paints_only_lines_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi()
    app = Console(api)
    async with app.run_test(size=(140, 44)) as pilot:
        await _open(pilot, app.pane)
        table = app.pane.query_one(MetricTable)
        painted: list[tuple[Region, ...]] = []
        refresh = table.refresh

        def record(*regions: Region, **how: bool) -> object:
            painted.append(regions)
            return refresh(*regions, **how)

        monkeypatch.setattr(table, "refresh", record)
        app.pane.show_model(MODEL, SNAPSHOT)
        assert painted == []
        at = next(y for y, line in enumerate(_lines(app.pane)) if "Running" in line)
        api.reading = replace(READING, at=NOW + 1, series=(replace(SERIES[0], value=8.0), *SERIES[1:]))
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        assert [[region.y for region in regions] for regions in painted] == [[at]]
        assert _line(app.pane, "Running")[1:3] == ["Running", "8"]
        assert _charts(app.pane)[2].split("\n")[0].split() == ["Running", "8"]


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
        assert _line(app.pane, "Running")


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
    api = FakeApi(MetricsReading(at=None, freshness=Freshness.NONE))
    app = Console(api)
    async with app.run_test():
        app.pane.show_model(model, SNAPSHOT)
        assert sentence in _said(app.pane)
        assert app.pane.check_action("find", ()) is False


async def test_what_was_measured_of_one_that_is_stopped_is_shown_as_old() -> None:
    message = "It has ended; this is what was measured before."
    app = Console(FakeApi(replace(READING, freshness=Freshness.STALE, message=message)))
    async with app.run_test(size=(140, 44)):
        app.pane.show_model(replace(MODEL, deployment=replace(DEPLOYMENT, lifecycle=Lifecycle.EXITED)), SNAPSHOT)
        assert _text(app.pane, "note") == message


async def test_loading_failed_then_values_then_stale() -> None:
    api = FakeApi(MetricsReading(at=None, freshness=Freshness.LOADING))
    app = Console(api)
    async with app.run_test(size=(140, 44)) as pilot:
        app.pane.show_model(MODEL, SNAPSHOT)
        await pilot.pause()
        app.pane.take_focus()
        assert _said(app.pane).startswith("Waiting for the first metrics of llama")
        api.reading = MetricsReading(at=None, freshness=Freshness.FAILED, message="It refused the [connection].")
        app.pane.show_model(MODEL, SNAPSHOT)
        assert _said(app.pane) == "▲ It refused the [connection]."
        api.reading = replace(READING, series=())
        app.pane.show_model(MODEL, SNAPSHOT)
        assert "/ finds any metric it reports" in _said(app.pane)
        api.reading = READING
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        assert app.focused is app.pane.query_one(MetricTable), "the keys are the values' now"
        assert not app.pane.has_class("-empty")
        assert len(_charts(app.pane)) == 5
        api.reading = replace(READING, freshness=Freshness.STALE, message="No metrics since 12:00:00.")
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        assert _text(app.pane, "note") == "No metrics since 12:00:00."
        assert app.pane.query_one("#metrics-note").has_class("-warning")
        assert _line(app.pane, "Running")[1:3] == ["Running", "7"], "values stay while they are stale"


async def test_a_series_without_values_says_so() -> None:
    app = Console(FakeApi(replace(READING, series=(SERIES[-1],))))
    async with app.run_test(size=(100, 20)) as pilot:
        await _open(pilot, app.pane)
        (chart,) = _charts(app.pane)
        assert "no values in the last 5 min" in chart


async def test_one_line_tells_health_load_and_gpus() -> None:
    gpu = Gpu(3, "GPU-3", "H100", 87.0, 71 << 30, 80 << 30, 60.0, 400.0, 700.0)
    snapshot = replace(SNAPSHOT, gpus=GpuReading(NOW, Freshness.FRESH, (gpu,)))
    model = replace(MODEL, deployment=replace(DEPLOYMENT, gpus=("GPU-3",)))
    api = FakeApi()
    app = Console(api)
    async with app.run_test(size=(120, 30)) as pilot:
        await _open(pilot, app.pane, model, snapshot)
        glance = _text(app.pane, "glance")
        assert glance.split("  ")[:6] == [
            *("● ready", "serving", "7 running", "0 waiting", "KV 50 %", "GPU 3: 87 % 71/80 GiB")
        ]
        full = tuple(replace(one, value=97.0) if one.key == "kv_cache" else one for one in SERIES)
        waits = tuple(replace(one, value=3.0) if one.key == "waiting" else one for one in full)
        api.reading = replace(READING, at=NOW + 1, series=waits)
        app.pane.show_model(model, snapshot)
        await _settle(pilot, app.pane)
        assert "saturated  7 running  3 waiting  KV 97 %" in _text(app.pane, "glance")
        # What it said last is told as that, and not as how loaded it is.
        api.reading = replace(api.reading, at=NOW + 2, freshness=Freshness.STALE, message="Its metrics do not come.")
        app.pane.show_model(model, snapshot)
        await _settle(pilot, app.pane)
        assert _text(app.pane, "glance").startswith(f"● ready  figures of {fmt.clock(NOW + 2)}  7 running  3 waiting")
        assert "GPU" not in _text(app.pane, "glance")


async def test_before_and_after_are_side_by_side() -> None:
    api = FakeApi()
    app = Console(api)
    async with app.run_test(size=(100, 30)) as pilot:
        await _open(pilot, app.pane)
        assert app.pane.check_action("compare", ()) is False
        api.reading = replace(READING, at=NOW + 1, marks=(SWAP,), comparison=COMPARISON)
        app.pane.show_model(MODEL, SNAPSHOT)
        await _settle(pilot, app.pane)
        assert "b: before and after" in _text(app.pane, "note")
        assert "swap mixtral → llama" in "".join(_charts(app.pane))
        await pilot.press("b")
        await pilot.pause()
        screen = _screen(app.pane)
        assert "swap mixtral → llama at" in screen
        assert "10m00s before and 1m50s after" in screen
        rows = {line.split("  ")[0].strip(): line.split() for line in screen.splitlines()}
        assert rows["TTFT p50"][2:] == ["200", "ms", "100", "ms", "-50", "%", "better"]
        assert rows["Failed"][1:] == ["0", "req/s", "0.50", "req/s", "from", "0", "worse"]
        assert rows["Generated"][-3:] == ["+50", "%", "more"]
        assert rows["KV cache"][2:] == ["–", "50", "%", "–"]
        await pilot.press("b")
        await _settle(pilot, app.pane)
        assert app.focused is app.pane.query_one(MetricTable)
        await pilot.press("b", "escape")
        await _settle(pilot, app.pane)
        assert app.pane.query_one("#metrics-body").display
        assert app.pane.check_action("compare", ()) is True


async def test_any_family_is_found_by_typing_and_pinned() -> None:
    api = FakeApi()
    app = Console(api)
    async with app.run_test(size=(100, 24)) as pilot:
        await _open(pilot, app.pane)
        await pilot.press("slash", *"lora")
        await pilot.pause()
        screen = _screen(app.pane)
        assert "1 of 3" in screen
        assert "Running stats on LoRA requests. (gauge, one label set)" in screen
        await pilot.press("enter")
        await _settle(pilot, app.pane)
        assert api.pinned == {"vllm:lora_requests_info"}
        assert "▪ vllm:lora_requests_info" in _screen(app.pane)
        await pilot.press("enter")
        await _settle(pilot, app.pane)
        assert api.pinned == set()
        await pilot.press(*4 * ["backspace"], "down", "enter")
        await _settle(pilot, app.pane)
        assert api.pinned == {"vllm:num_requests_running"}
        await pilot.press("escape")
        await _settle(pilot, app.pane)
        assert not app.pane.query_one(FamilyFinder).display
        assert app.focused is app.pane.query_one(MetricTable)
        await pilot.press("slash", *"nothing")
        assert "No family" in _screen(app.pane)


async def test_what_is_pinned_comes_first_and_a_refusal_is_told() -> None:
    api = FakeApi(replace(READING, series=(*SERIES, _series("x", 1.0, group=Group.PINNED))))
    api.pin_error = "It is reported no more."
    app = Console(api)
    async with app.run_test(size=(100, 24)) as pilot:
        await _open(pilot, app.pane)
        assert next(line.strip(" ▌") for line in _lines(app.pane)) == "Pinned"
        await pilot.press("slash", "enter")
        await _settle(pilot, app.pane)
        assert [notice.message for notice in app._notifications] == ["It is reported no more."]


# Lines


def _shown(*series: Series, compact: bool = True, headings: bool = True) -> list[tuple[int, str, str]]:
    lines = metric_lines(series, compact=compact, headings=headings)
    return [(one.depth, one.title, one.note if isinstance(one, Heading) else one.value) for one in lines]


def test_what_can_be_said_of_a_quantile_is_said() -> None:
    below, above = replace(TTFT[0], bound=Bound.BELOW), replace(TTFT[2], value=10.0, bound=Bound.ABOVE)
    assert MetricRow("TTFT", (below,)).value == "<50 ms"
    assert MetricRow("TTFT", (below, TTFT[1], above)).value == "<0.05 / 0.10 / >10 s"
    assert MetricRow("TTFT", (replace(below, value=None), TTFT[1], TTFT[2])).value == "– / 100 / 400 ms"
    assert MetricRow("TTFT", tuple(replace(one, value=None) for one in TTFT)).value == "–"
    assert MetricRow("LoRA", (replace(SERIES[0], value=None, word="sql, poetry"),)).value == "sql, poetry"


def test_parts_stand_below_their_sum_or_below_a_heading() -> None:
    failed = (_series("failed", 3.0), _series("failed", 1.0, of="abort"), _series("failed", 2.0, of="error"))
    assert _shown(*failed) == [(0, "Requests", ""), (0, "Failed", "3"), (1, "abort", "1"), (1, "error", "2")]
    assert _shown(*failed[1:])[1:] == [(1, "Failed", ""), (1, "abort", "1"), (1, "error", "2")]
    assert _shown(failed[1])[1:] == [(0, "Failed · abort", "1")]
    assert _shown(*failed, headings=False)[1] == (0, "Failed · abort", "1")


def test_models_have_all_of_theirs_together() -> None:
    of = [_series(key, 1.0, group=Group.MODELS, of=model) for key in ("finished", "batch") for model in ("a", "b")]
    assert _shown(*of) == [
        *((0, "Models", ""), (1, "a", ""), (1, "Finished", "1"), (1, "Batch", "1")),
        *((1, "b", ""), (1, "Finished", "1"), (1, "Batch", "1")),
    ]


def test_quantiles_that_differ_in_kind_say_which_they_are() -> None:
    other = tuple(replace(one, title=one.title.replace("Ttft", "Queue")) for one in TTFT[::2])
    assert [line[1:] for line in _shown(*TTFT, *other)] == [
        ("Latency", ""),
        ("Ttft p50/90/99", "50 / 100 / 400 ms"),
        ("Queue p50/99", "50 / 400 ms"),
    ]
    assert [line[1] for line in _shown(*TTFT, compact=False)[1:]] == ["Ttft p50", "Ttft p90", "Ttft p99"]
    assert _shown(TTFT[0])[1][1] == "Ttft p50"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (Compared("ttft_p50", "", "s", 0.1, 0.101), ("+1.0 %", "same")),
        (Compared("ttft_p50", "", "s", 0.1, 0.105), ("+5.0 %", "worse")),
        (Compared("ttft_p50", "", "s", 0.1, 0.1), ("", "same")),
        (Compared("prefix_hits", "", "%", 20.0, 40.0), ("+100 %", "better")),
        (Compared("queue_time", "", "s", 0.01, 1.0), ("×100", "worse")),
        (Compared("preemptions", "", "/s", 2.0, 0.0), ("-100 %", "better")),
        (Compared("running", "", "", 2.0, 3.0), ("+50 %", "more")),
        (Compared("requests", "", "req/s", None, 3.0), ("–", "")),
        (Compared("pending", "", "", 0.0, 0.002), ("", "same")),
        (Compared("pending", "", "", 0.002, 0.5), ("from 0", "worse")),
        (Compared("output_time", "", "s", 0.0000101, 0.0000133), ("", "same")),
    ],
)
def test_a_change_is_called_better_only_where_that_is_known(row: Compared, told: tuple[str, str]) -> None:
    assert changed(row) == told


def test_sparklines_of_the_list_are_made_once_a_cell() -> None:
    api = FakeApi()
    sparks = ListSparks(api.metrics, plain=False)
    assert sparks.of(MODEL, NOW) == ("████████", "1200 tok/s")
    start = NOW - NOW % LIST_CELL_S
    for second in range(int(LIST_CELL_S)):
        sparks.of(MODEL, start + second)
    assert api.asked == ["llama"]
    sparks.of(MODEL, start + LIST_CELL_S)
    assert api.asked == ["llama"] * 2
    assert sparks.of(replace(MODEL, state=State.STOPPED), NOW) == ("", "")
    assert ListSparks(FakeApi(replace(READING, series=())).metrics, plain=False).of(MODEL, NOW) == ("", "")


def test_a_long_sparkline_moves_before_its_last_cell_is_over() -> None:
    cell_s = 450.0
    start = NOW - NOW % cell_s
    times = tuple(start + second for second in range(60))
    series = Series("running", "Running", "", 1.0, "", times, (1.0,) * 60, Group.REQUESTS)
    assert spark(series, cell_s, start + LIST_CELL_S, plain=False) == "       █"


# Plots

SECONDS = tuple(float(second) for second in range(301))
PLOT = Plot(
    curves=(Curve(SECONDS, tuple(50.0 if second < 100 or second > 200 else None for second in range(301))),),
    unit="%",
    window_s=300.0,
    end=300.0,
    width=63,
    height=11,
)


def _curve(drawing: Drawing) -> list[str]:
    return ["".join(text for text, look in row if look != "dim") for row in drawing.rows[:-2]]


def _whole(drawing: Drawing) -> list[str]:
    return ["".join(text for text, _ in row) for row in drawing.rows]


def _plot(value: float | None, **other: object) -> Plot:
    return replace(PLOT, curves=(Curve(SECONDS, (value,) * 301),), **other)  # type: ignore[arg-type]


def test_gaps_are_gaps_and_the_curve_reaches_both_ends() -> None:
    drawing = draw(PLOT)
    assert drawing is not None
    assert all(len(row) == PLOT.width for row in _whole(drawing))
    drawn = ["".join(column).strip() != "" for column in zip(*_curve(drawing), strict=True)]
    third = len(drawn) // 3
    assert drawn[0]
    assert drawn[-1]
    assert all(drawn[1 : third - 1])
    assert not any(drawn[third + 2 : 2 * third - 2])
    assert all(drawn[2 * third + 2 :])


def test_the_axis_ends_at_what_there_can_be_at_most() -> None:
    drawing = draw(_plot(float(20 << 30), unit="bytes", most=float(80 << 30)))
    assert drawing is not None
    assert drawing.unit == "GiB"
    assert _whole(drawing)[0].lstrip().startswith("80")
    assert not _curve(drawing)[0].strip()
    above = draw(_plot(900.0, unit="W", most=700.0))
    assert above is not None
    assert _whole(above)[0].lstrip().startswith("1000")


def test_points_far_apart_are_not_joined() -> None:
    drawing = draw(replace(PLOT, curves=(Curve((0.0, 300.0), (10.0, 10.0)),)))
    assert drawing is not None
    assert sum("".join(column).strip() != "" for column in zip(*_curve(drawing), strict=True)) == 2


def test_plain_terminals_get_ascii() -> None:
    drawing = draw(replace(PLOT, plain=True))
    assert drawing is not None
    assert all(row.isascii() for row in _whole(drawing))
    assert any("*" in row for row in _whole(drawing))


def test_nothing_to_draw_or_no_room() -> None:
    assert draw(_plot(None)) is None
    assert draw(replace(PLOT, curves=(Curve((), ()),))) is None
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
    drawing = draw(_plot(largest, unit=unit))
    assert drawing is not None
    assert _whole(drawing)[0].split("┤")[0].strip() == top
    assert drawing.unit == shown_unit


def test_a_mark_is_a_line_with_its_text_where_the_curve_leaves_room() -> None:
    drawing = draw(replace(PLOT, marks=((150.0, "swap a → b"), (295.0, "started anew"), (-10.0, "before"))))
    assert drawing is not None
    rows = _whole(drawing)
    at = rows[0].index("│swap a → b")
    assert abs(at - len(rows[0]) / 2) < 4, "in the middle of the window"
    assert sum(row[at] == "│" for row in rows[:-2]) >= len(rows) - 4
    assert "started anew│" in rows[0], "at the right end the text stands before its line"
    assert "before" not in "".join(rows)
    assert ("│swap a → b", "mark") in drawing.rows[0]


def test_an_hour_of_seconds_keeps_its_peaks() -> None:
    hour = tuple(float(second) for second in range(3600))
    values = tuple(100.0 if second == 1234 else 1.0 for second in range(3600))
    drawing = draw(replace(PLOT, curves=(Curve(hour, values),), window_s=3600.0, end=3600.0))
    assert drawing is not None
    assert _curve(drawing)[0].strip()


def test_threads_do_not_disturb_each_other() -> None:
    plots = [_plot(float(number * 10)) for number in range(8)] * 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, plots)) == [draw(plot) for plot in plots]
