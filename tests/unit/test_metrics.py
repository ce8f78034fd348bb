"""What a tracker makes of real servers' expositions, of broken ones, and of silence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading, Series
from engine.observe.metrics import GpuFigures, MetricsTracker
from engine.observe.scrape import MetricsError

SAMPLES = Path(__file__).parents[1] / "samples" / "metrics"
VLLM = (SAMPLES / "vllm-0.32-idle.txt").read_text()
TRITON_IDLE = (SAMPLES / "triton-2.51-idle.txt").read_text()
TRITON_USED = (SAMPLES / "triton-2.51-nine-requests.txt").read_text()
URL = "http://127.0.0.1:8002/metrics"

# Numbers


def _feed(*texts: str, seconds: float = 1.0) -> MetricsReading:
    tracker = MetricsTracker(URL)
    for number, text in enumerate(texts):
        tracker.update(text, 100.0 + number * seconds)
    return tracker.reading(100.0 + (len(texts) - 1) * seconds)


def _series(reading: MetricsReading, key: str) -> Series:
    return next(series for series in reading.series if series.key == key)


def test_a_real_triton_between_two_scrapes() -> None:
    reading = _feed(TRITON_IDLE, TRITON_USED, seconds=3)
    values = {series.key: series.value for series in reading.series}
    assert values["requests"] == pytest.approx(9 / 3)
    assert values["failures"] == 0
    assert values["executions"] == pytest.approx(5 / 3)
    assert values["batch_size"] == pytest.approx(9 / 5)
    assert values["queue_time"] == pytest.approx(0.176487 / 9)
    assert values["compute_time"] == pytest.approx(0.097347 / 9)
    assert values["request_time"] == pytest.approx(0.275578 / 9)
    assert values["cpu"] == pytest.approx(50)
    assert values["pinned_memory"] == 0
    assert _series(reading, "requests").source == "rate of nv_inference_request_success"
    assert not {"running", "ttft_p50", "gpu_utilization"} & values.keys()


def test_a_real_vllm_that_idles() -> None:
    values = {series.key: series.value for series in _feed(VLLM, VLLM).series}
    assert values["running"] == values["waiting"] == values["kv_cache"] == values["generation"] == 0
    assert values["ttft_p50"] is None
    assert values["prefix_hits"] is None


def test_the_first_scrape_knows_gauges_only() -> None:
    values = {series.key: series.value for series in _feed(VLLM).series}
    assert values["running"] == 0
    assert values["generation"] is None


def test_names_of_older_versions_and_label_sets() -> None:
    text = (
        'vllm:gpu_cache_usage_perc{engine="0"} 0.25\nvllm:gpu_cache_usage_perc{engine="1"} 0.75\n'
        'vllm:num_requests_running{engine="0"} 2\nvllm:num_requests_running{engine="1"} 3\n'
        'vllm:prompt_tokens{model="a b} {",version="1"} 10 1700000000000\n'
    )
    reading = _feed(text, text.replace("} 10 ", "} 30 "), seconds=2)
    assert _series(reading, "kv_cache").value == 75
    assert _series(reading, "kv_cache").source == "max of vllm:gpu_cache_usage_perc"
    assert _series(reading, "running").value == 5
    assert _series(reading, "prompt").value == 10


def test_values_that_are_no_numbers_are_gaps() -> None:
    reading = _feed("vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\n")
    assert [series.value for series in reading.series] == [None, None]


def test_a_broken_line_counts_as_no_scrape() -> None:
    tracker = MetricsTracker(URL)
    tracker.update("vllm:num_requests_running 1\n", 100)
    with pytest.raises(MetricsError, match=r"no Prometheus exposition \(line 2\)"):
        tracker.update("vllm:num_requests_running 1\nvllm:num_requests_running one\n", 101)
    with pytest.raises(MetricsError, match=r"\(line 1\)"):
        tracker.update('vllm:num_requests_running{engine="0', 102)
    assert tracker.reading(102).at == 100


@given(st.text() | st.text(alphabet='ab:{}="\\,# \t\n1e+.-N_'))
def test_any_text_is_read_or_refused(text: str) -> None:
    tracker = MetricsTracker(URL)
    try:
        tracker.update(text, 1.0)
    except MetricsError:
        return
    assert tracker.reading(1.0).freshness is Freshness.FRESH


# History and freshness


def test_loading_failed_fresh_and_stale() -> None:
    tracker = MetricsTracker(URL)
    assert tracker.reading(100).freshness is Freshness.LOADING
    tracker.failed("It refused.", 100)
    assert (tracker.reading(100).freshness, tracker.reading(100).message) == (Freshness.FAILED, "It refused.")
    tracker.update("vllm:num_requests_running 4\n", 101)
    assert (tracker.reading(106).freshness, tracker.reading(106).at) == (Freshness.FRESH, 101)
    tracker.failed("It hangs.", 105)
    old = tracker.reading(107)
    assert old.freshness is Freshness.STALE
    assert old.message.startswith("No metrics since ")
    assert old.message.endswith("It hangs.")
    assert _series(old, "running").value == 4
    assert _series(old, "running").values == (4, None)


def test_an_endpoint_without_known_families_says_so() -> None:
    reading = _feed("go_goroutines 12\n")
    assert (reading.freshness, reading.series) == (Freshness.FRESH, ())
    assert "no metrics that tritontui knows" in reading.message


def test_a_long_silence_is_a_gap_not_a_mean() -> None:
    tracker = MetricsTracker(URL)
    for count, at in ((0, 0.0), (10, 1.0), (5000, 600.0), (5010, 601.0)):
        tracker.update(f"vllm:prompt_tokens_total {count}\n", at)
    series = _series(tracker.reading(601), "prompt")
    points = dict(zip(series.times, series.values, strict=True))
    assert (points[1.0], points[600.0], points[601.0]) == (10, None, 10)
    assert [value for value in series.values if value is not None] == [10, 10]


def test_a_line_that_went_keeps_its_past() -> None:
    tracker = MetricsTracker(URL)
    tracker.update("vllm:num_requests_running 1\nvllm:num_requests_waiting 7\n", 100)
    tracker.update("vllm:num_requests_running 2\n", 101)
    waiting = _series(tracker.reading(101), "waiting")
    assert (waiting.value, waiting.values) == (None, (7, None))


def test_the_current_reading_has_the_past_of_what_is_asked_only() -> None:
    tracker = MetricsTracker(URL)
    for at in (100.0, 101.0):
        tracker.update("vllm:num_requests_running 1\nvllm:num_requests_waiting 7\n", at)
    reading = tracker.current(101, past=("waiting",))
    assert {series.key: (series.value, len(series.times)) for series in reading.series} == {
        "running": (1, 0),
        "waiting": (7, 2),
    }


def test_gpus_that_a_server_reports() -> None:
    tracker = MetricsTracker(URL)
    assert tracker.gpus() == ()
    uuid = 'gpu_uuid="GPU-1"'
    tracker.update(
        f"nv_gpu_utilization{{{uuid}}} 0.25\nnv_gpu_memory_used_bytes{{{uuid}}} 1048576\n"
        f"nv_gpu_power_usage{{{uuid}}} NaN\nnv_energy_consumption{{{uuid}}} 12.5\n",
        1.0,
    )
    assert tracker.gpus() == (GpuFigures("GPU-1", 25.0, 1048576, None, None, None, 12.5),)
