"""Scraping against a real socket, and numbers against independent calculations and real servers' expositions."""

import asyncio
import math
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading, Series
from engine.observe import metrics
from engine.observe.metrics import HISTORY_POINTS, MetricsError, MetricsTracker, scrape
from engine.observe.series import histogram_quantile

SAMPLES = Path(__file__).parents[1] / "samples" / "metrics"
VLLM = (SAMPLES / "vllm-0.32-idle.txt").read_text()
TRITON_IDLE = (SAMPLES / "triton-2.51-idle.txt").read_text()
TRITON_USED = (SAMPLES / "triton-2.51-nine-requests.txt").read_text()
URL = "http://127.0.0.1:8002/metrics"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(answer: bytes | Handler) -> AsyncIterator[str]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
        else:
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
    finally:
        server.close()


def _response(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


async def _scrape(url: str) -> str:
    async with httpx.AsyncClient() as client:
        return await scrape(client, url)


async def _failure(answer: bytes | Handler) -> str:
    async with _server(answer) as url:
        with pytest.raises(MetricsError) as caught:
            await _scrape(url)
        return str(caught.value).replace(url, "URL")


async def test_scrapes_an_exposition() -> None:
    async with _server(_response(VLLM.encode())) as url:
        assert await _scrape(url) == VLLM


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"# a comment\n\n<html><body>It works!</body></html>", 3),
        (b'{"status": "ok"}', 1),
        (b"OK", 1),
        (b"not found", 1),
        (b"", 1),
        (b"# only comments\n", 1),
        (b"\x00\x01\x02", 1),
    ],
)
async def test_a_body_that_is_no_exposition(body: bytes, line: int) -> None:
    message = await _failure(_response(body))
    assert message == f"URL answered 200 with text that is no Prometheus exposition (line {line})."


async def test_bytes_that_are_no_text() -> None:
    assert (
        await _failure(_response(b"\xff\xd8\xff")) == "URL answered 200 with bytes that are no Prometheus exposition."
    )


async def test_another_status() -> None:
    assert (await _failure(_response(b"", "404 Not Found"))).startswith("URL answered 404 where metrics were expected.")


async def test_a_body_without_end_is_cut_off() -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        try:
            while True:
                writer.write(b"a 1\n" * 65536)
                await writer.drain()
        except ConnectionError:
            return

    assert "more than 8 MiB" in await _failure(flood)


async def test_a_server_that_breaks_off() -> None:
    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n")

    assert (await _failure(leave)).startswith("URL broke off")


async def test_silence_and_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "DEADLINE_S", 0.2)

    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n")
        await reader.read()

    assert await _failure(say_nothing) == "URL accepted the connection and did not answer within 0.2 s."
    assert await _failure(begin) == "URL began to answer and did not finish within 0.2 s."


async def test_nobody_listens() -> None:
    async with _server(b"") as url:
        pass
    with pytest.raises(MetricsError, match="refused the connection"):
        await _scrape(url)


@pytest.mark.parametrize("url", ["http://[::1", "ftp://127.0.0.1/metrics", "/metrics"])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(MetricsError, match="URL"):
        await _scrape(url)


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


@given(
    counts=st.lists(st.integers(0, 10**12), min_size=2, max_size=20),
    intervals=st.lists(st.floats(0.25, 30), min_size=20, max_size=20),
)
def test_rates_are_increases_by_time_and_restarts_are_gaps(counts: list[int], intervals: list[float]) -> None:
    tracker = MetricsTracker(URL)
    at, times = 1e9, []
    for count, interval in zip(counts, intervals, strict=False):
        at += interval
        times.append(at)
        tracker.update(f'vllm:prompt_tokens_total{{engine="0"}} {count}\n', at)
    series = _series(tracker.reading(at), "prompt")
    assert series.times == tuple(times)
    expected = [None] + [
        None if later < earlier else (later - earlier) / (then - before)
        for earlier, later, before, then in zip(counts, counts[1:], times, times[1:], strict=False)
    ]
    assert list(series.values) == [value if value is None else pytest.approx(value) for value in expected]
    assert series.value == series.values[-1]


@given(
    observed=st.lists(st.lists(st.floats(0.001, 20), max_size=30), min_size=2, max_size=2),
    bounds=st.lists(st.floats(0.01, 10), min_size=1, max_size=8, unique=True),
)
def test_quantiles_lie_in_the_bucket_that_holds_them(observed: list[list[float]], bounds: list[float]) -> None:
    """The reference is the observations themselves: the bucket of the one at the rank, and the place within it."""
    bounds = sorted(bounds)
    earlier, new = observed

    def exposition(observations: list[float]) -> str:
        lines = [
            f'vllm:time_to_first_token_seconds_bucket{{engine="0",le="{bound}"}} '
            f"{sum(value <= bound for value in observations)}"
            for bound in [*bounds, math.inf]
        ]
        return "\n".join(lines).replace("inf", "+Inf")

    reading = _feed(exposition(earlier), exposition(earlier + new))
    for key, quantile in (("ttft_p50", 0.5), ("ttft_p99", 0.99)):
        value = _series(reading, key).value
        if not new:
            assert value is None
            continue
        rank = quantile * len(new)
        at_rank = sorted(new)[math.ceil(rank) - 1]
        upper = next((bound for bound in bounds if at_rank <= bound), None)
        if upper is None:
            assert value == bounds[-1]
            continue
        lower = max((bound for bound in bounds if bound < upper), default=0.0)
        inside = [number for number in new if lower < number <= upper]
        below = sum(number <= lower for number in new)
        assert value == pytest.approx(lower + (upper - lower) * (rank - below) / len(inside))


def test_a_quantile_follows_its_observations() -> None:
    observations = [number / 1000 for number in range(1, 2001)]
    bounds = [number / 100 for number in range(1, 201)]
    buckets = {bound: float(sum(value <= bound for value in observations)) for bound in bounds}
    value = histogram_quantile(0.5, {**buckets, math.inf: 2000.0})
    assert value == pytest.approx(statistics.median(observations), abs=0.01)


def test_a_histogram_that_began_anew_is_a_gap() -> None:
    name = "vllm:time_to_first_token_seconds_bucket"
    texts = [f'{name}{{le="1.0"}} {low}\n{name}{{le="+Inf"}} {count}\n' for low, count in ((5, 10), (6, 7), (10, 11))]
    assert _series(_feed(*texts), "ttft_p50").values == (None, None, 0.5)


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
    assert _series(tracker.reading(601), "prompt").values == (None, 10, None, 10)


def test_history_is_bounded_and_late_series_are_padded() -> None:
    tracker = MetricsTracker(URL)
    for number in range(HISTORY_POINTS + 50):
        late = "vllm:num_requests_waiting 7\n" if number > HISTORY_POINTS else ""
        tracker.update(f"vllm:num_requests_running {number}\n{late}", float(number))
    reading = tracker.reading(float(number))
    assert {len(series.times) for series in reading.series} == {HISTORY_POINTS}
    assert {len(series.values) for series in reading.series} == {HISTORY_POINTS}
    waiting = _series(reading, "waiting").values
    assert (waiting[0], waiting[-1], waiting.count(7)) == (None, 7, 49)
