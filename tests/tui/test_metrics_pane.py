"""The metrics pane: values, charts, keys, and what it says when there is nothing to show."""

import asyncio
import re
from dataclasses import replace

import pytest
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widgets import Footer, Static

from engine.deployment import Lifecycle
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading
from engine.metrics_reading import Group, MetricsReading, Series
from engine.snapshot import Model, Snapshot
from tests.tui.metrics_at_hand import (
    COMPARISON,
    DEPLOYMENT,
    MODEL,
    NOW,
    READING,
    SERIES,
    SERVICE,
    SNAPSHOT,
    SWAP,
    FakeApi,
    series,
)
from tui import format as fmt
from tui.widgets.chart import Chart
from tui.widgets.metric_table import MetricTable
from tui.widgets.metrics_find import FamilyFinder
from tui.widgets.metrics_pane import MetricsPane


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
        assert " pin " in screen
        await pilot.press("enter")
        await _settle(pilot, app.pane)
        assert " unpin " in _screen(app.pane)
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


async def test_a_pin_that_is_not_reported_is_seen_and_can_be_taken_away() -> None:
    gone = Series("pin:gone", "vllm:gone_family", "", None, "why", group=Group.PINNED, word="not reported")
    api = FakeApi(replace(READING, series=(*SERIES, gone)))
    api.pinned, api.unreported = {"vllm:gone_family"}, ("vllm:gone_family",)
    app = Console(api)
    async with app.run_test(size=(100, 24)) as pilot:
        await _open(pilot, app.pane)
        assert re.search("vllm:gone_family +not reported", _screen(app.pane))
        await pilot.press("slash")
        await pilot.pause()
        assert re.search("▪ vllm:gone_family +not reported now", _screen(app.pane))
        assert "pinned, and the endpoint does not report it now" in _screen(app.pane)
        await pilot.press("enter")
        await _settle(pilot, app.pane)
        assert api.pinned == set()
        assert "gone_family" not in _screen(app.pane)


async def test_what_is_pinned_comes_first_and_a_refusal_is_told() -> None:
    api = FakeApi(replace(READING, series=(*SERIES, series("x", 1.0, group=Group.PINNED))))
    api.pin_error = "It is reported no more."
    app = Console(api)
    async with app.run_test(size=(100, 24)) as pilot:
        await _open(pilot, app.pane)
        assert next(line.strip(" ▌") for line in _lines(app.pane)) == "Pinned"
        await pilot.press("slash", "enter")
        await _settle(pilot, app.pane)
        assert [notice.message for notice in app._notifications] == ["It is reported no more."]


# Lines
