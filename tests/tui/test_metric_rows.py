"""What is said of metrics in lines of text: values, comparisons, sparklines."""

from dataclasses import replace

import pytest

from engine.deployment import State
from engine.metrics_reading import Bound, Compared, Group, Series
from tests.tui.metrics_at_hand import MODEL, NOW, READING, SERIES, TTFT, FakeApi, series
from tui.widgets.metric_comparison import changed
from tui.widgets.metric_rows import Heading, MetricRow, metric_lines
from tui.widgets.sparks import LIST_CELL_S, ListSparks, spark


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
    failed = (series("failed", 3.0), series("failed", 1.0, of="abort"), series("failed", 2.0, of="error"))
    assert _shown(*failed) == [(0, "Requests", ""), (0, "Failed", "3"), (1, "abort", "1"), (1, "error", "2")]
    assert _shown(*failed[1:])[1:] == [(1, "Failed", ""), (1, "abort", "1"), (1, "error", "2")]
    assert _shown(failed[1])[1:] == [(0, "Failed · abort", "1")]
    assert _shown(*failed, headings=False)[1] == (0, "Failed · abort", "1")


def test_models_have_all_of_theirs_together() -> None:
    of = [series(key, 1.0, group=Group.MODELS, of=model) for key in ("finished", "batch") for model in ("a", "b")]
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
        (Compared("ttft_p50", "", "s", 0.3, 0.3, Bound.BELOW, Bound.BELOW), ("–", "")),
        (Compared("ttft_p50", "", "s", 0.3, 0.5, Bound.BELOW), ("at least +67 %", "worse")),
        (Compared("ttft_p50", "", "s", 0.3, 0.5, Bound.BELOW, Bound.BELOW), ("–", "")),
        (Compared("ttft_p50", "", "s", 1.17, 0.005, Bound.EXACT, Bound.BELOW), ("at least ÷234", "better")),
        (Compared("ttft_p50", "", "s", 1.17, 0.005), ("÷234", "better")),
        (Compared("ttft_p50", "", "s", 0.004, 0.005, Bound.EXACT, Bound.BELOW), ("–", "")),
        (Compared("ttft_p50", "", "s", 0.005, 0.005, Bound.EXACT, Bound.BELOW), ("–", "")),
        (Compared("ttft_p50", "", "s", 10.0, 2.0, Bound.ABOVE, Bound.EXACT), ("at least -80 %", "better")),
        (Compared("ttft_p50", "", "s", 10.0, 12.0, Bound.ABOVE, Bound.EXACT), ("–", "")),
        (Compared("ttft_p50", "", "s", 0.005, 10.0, Bound.BELOW, Bound.ABOVE), ("at least ×2000", "worse")),
        (Compared("ttft_p50", "", "s", 5.05, 5.0, Bound.EXACT, Bound.BELOW), ("at least -1.0 %", "better")),
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
