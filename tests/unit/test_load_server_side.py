"""What a server counted between two looks at its metrics, over the names that servers have for it."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from engine.load import server_side
from engine.load.server_side import ServerSide
from engine.load_result import Digest, RequestRecord, ServerFigures
from tests.unit.load_results import failed, request

BOUNDS = (0.01, 0.02, 0.04, math.inf)
VLLM = '{engine="0",model_name="tiny"'


class Metrics:
    """A server's counters; `answer` is what it says at each scrape."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = "200 OK"
        self.values: dict[str, float] = {}
        self.on_ask: Callable[[], None] = lambda: None

    def add(self, **values: float) -> None:
        for name, value in values.items():
            series = name.replace("vllm_", "vllm:") + VLLM + "}"
            self.values[series] = self.values.get(series, 0.0) + value

    def observe(self, family: str, values: Sequence[float], labels: str = VLLM) -> None:
        for bound in BOUNDS:
            le = "+Inf" if bound == math.inf else str(bound)
            series = f'{family}_bucket{labels},le="{le}"}}'
            self.values[series] = self.values.get(series, 0.0) + sum(value <= bound for value in values)
        for end, value in (("count", len(values)), ("sum", sum(values))):
            self.values[f"{family}_{end}{labels}}}"] = self.values.get(f"{family}_{end}{labels}}}", 0.0) + value

    def answer(self) -> bytes:
        self.asked += 1
        self.on_ask()
        text = "# HELP up 1\nup 1\n" + "".join(f"{series} {value}\n" for series, value in self.values.items())
        head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        return f"{head}{text}".encode()


@asynccontextmanager
async def served(metrics: Metrics) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(metrics.answer())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_side, "LOOK_EVERY_S", 0.01)


async def grown(
    metrics: Metrics,
    under_load: Callable[[], None],
    records: Sequence[RequestRecord],
    model: str = "tiny",
    *,
    streams: bool = True,
) -> ServerFigures | None:
    async with served(metrics) as url:
        side = ServerSide(url, streams=streams)
        await side.begin()
        under_load()
        return await side.end(records, model)


def three() -> list[RequestRecord]:
    return [request(float(at)) for at in range(3)]


@pytest.mark.usefixtures("quick")
async def test_vllm_s_counters_and_histograms_grow_by_what_was_asked() -> None:
    metrics = Metrics()
    metrics.observe("vllm:time_to_first_token_seconds", [0.005, 5.0])
    metrics.values['vllm:request_success_total{finished_reason="stop"}'] = 2.0
    metrics.add(vllm_prompt_tokens_total=20, vllm_generation_tokens_total=22)

    def under_load() -> None:
        metrics.values['vllm:request_success_total{finished_reason="stop"}'] += 1
        metrics.values['vllm:request_success_total{finished_reason="length"}'] = 2.0
        metrics.add(vllm_prompt_tokens_total=30, vllm_generation_tokens_total=33)
        metrics.observe("vllm:time_to_first_token_seconds", [0.011, 0.012, 0.019, 0.039])
        metrics.observe("vllm:request_time_per_output_token_seconds", [0.015] * 3)
        metrics.observe("vllm:inter_token_latency_seconds", [0.03] * 30)
        metrics.observe("vllm:request_queue_time_seconds", [0.001, 0.002])

    found = await grown(metrics, under_load, three())
    assert found is not None
    assert (found.requests, found.tokens_in, found.tokens_out, found.alone) == (3, 30, 33, True)
    assert found.ttft.n == 4
    assert found.ttft.mean == pytest.approx((0.011 + 0.012 + 0.019 + 0.039) / 4)
    # Rank 2 of 4; three of them in the bucket from 0.01 to 0.02.
    assert found.ttft.p50 == pytest.approx(0.01 + 0.01 * 2 / 3)
    assert found.ttft.p99 is None, "of fewer than a hundred"
    assert found.itl.n == 3, "of each request, as the client has it, where the server has that"
    assert found.queue.mean == pytest.approx(0.0015)
    assert found.queue.p50 is None, "in the lowest bucket it is not known where"
    assert found.e2e == Digest()


@pytest.mark.usefixtures("quick")
async def test_triton_counts_the_model_that_was_asked() -> None:
    """An ensemble's parts count their own requests, and Triton's vLLM backend its tokens."""
    metrics = Metrics()
    success = 'nv_inference_request_success{model="%s",version="1"}'
    metrics.values[success % "ensemble"] = 7

    def under_load() -> None:
        metrics.values[success % "ensemble"] += 3
        metrics.values[success % "tokenizer"] = 3
        metrics.values['nv_inference_queue_duration_us{model="ensemble",version="1"}'] = 6000
        metrics.observe("nv_inference_first_response_histogram_ms", [20, 40, 60], '{model="ensemble",version="1"')
        metrics.values['vllm:generation_tokens_total{model="llm",version="1"}'] = 33

    found = await grown(metrics, under_load, three(), "ensemble")
    assert found is not None
    assert (found.requests, found.tokens_out, found.alone) == (3, 33, True)
    assert found.ttft.mean == pytest.approx(0.040)
    assert found.queue.mean == pytest.approx(0.002)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("streams", [False, True])
async def test_triton_s_time_of_a_request_is_that_of_its_answer_where_that_is_one_response(streams: bool) -> None:
    metrics = Metrics()
    series = 'nv_inference_%s{model="echo",version="1"}'

    def under_load() -> None:
        metrics.values[series % "request_success"] = 3
        metrics.values[series % "request_duration_us"] = 150_000

    found = await grown(metrics, under_load, three(), "echo", streams=streams)
    assert found is not None
    assert (found.e2e.n, found.e2e.mean) == ((0, None) if streams else (3, pytest.approx(0.050)))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("models", "asked", "own", "requests"),
    [
        (("echo",), "another name", True, 3),  # vLLM counts an adapter's by its model's name
        (("echo", "ocr"), "echo", True, 3),
        (("echo", "ocr"), "another name", False, 6),
    ],
)
async def test_models_that_are_counted_together_are_told(
    models: tuple[str, ...], asked: str, own: bool, requests: float
) -> None:
    metrics = Metrics()

    def under_load() -> None:
        metrics.values |= {f'nv_inference_request_success{{model="{name}",version="1"}}': 3.0 for name in models}

    found = await grown(metrics, under_load, three(), asked)
    assert found is not None
    assert (found.own, found.requests) == (own, requests)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("counted", "alone"), [(2, False), (3, True), (4, True), (5, False)])
async def test_others_are_seen_where_the_count_is_not_what_was_sent(
    counted: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three were answered and one was cut: the server may have counted that or not."""
    monkeypatch.setattr(server_side, "SETTLE_S", 0.1)
    metrics = Metrics()
    found = await grown(metrics, lambda: metrics.add(vllm_request_success_total=counted), [*three(), failed(0.5)])
    assert found is not None
    assert found.alone is alone


@pytest.mark.usefixtures("quick")
async def test_it_waits_for_what_is_counted_a_moment_later() -> None:
    metrics = Metrics()
    metrics.add(vllm_request_success_total=1)

    def under_load() -> None:
        since = metrics.asked

        def count() -> None:
            if metrics.asked - since in (3, 5, 6):
                metrics.add(vllm_request_success_total=1)

        metrics.on_ask = count

    found = await grown(metrics, under_load, three())
    assert found is not None
    assert (found.requests, found.alone) == (3, True)


@pytest.mark.usefixtures("quick")
async def test_a_warm_up_that_is_counted_late_is_not_taken_for_the_level_s() -> None:
    metrics = Metrics()
    metrics.add(vllm_request_success_total=7)
    metrics.on_ask = lambda: metrics.add(vllm_request_success_total=int(metrics.asked in (2, 3)))
    found = await grown(metrics, lambda: metrics.add(vllm_request_success_total=3), three())
    assert found is not None
    assert found.requests == 3


@pytest.mark.usefixtures("quick")
async def test_tokens_may_be_counted_after_their_request() -> None:
    """As in Triton's vLLM backend, which counts them on a thread of its own."""
    metrics = Metrics()
    metrics.add(vllm_request_success_total=0, vllm_generation_tokens_total=0)

    def under_load() -> None:
        metrics.add(vllm_request_success_total=3, vllm_generation_tokens_total=11)
        since = metrics.asked
        metrics.on_ask = lambda: metrics.add(vllm_generation_tokens_total=11 * (metrics.asked - since in (2, 3)))

    found = await grown(metrics, under_load, three())
    assert found is not None
    assert found.tokens_out == 33


async def test_what_never_is_counted_is_not_waited_for_longer_than_it_says() -> None:
    began = time.monotonic()
    found = await grown(Metrics(), lambda: None, three())
    assert found == ServerFigures(), "it has no such counters"
    metrics = Metrics()
    metrics.add(vllm_request_success_total=0)
    found = await grown(metrics, lambda: None, three())
    assert found is not None
    assert (found.requests, found.alone) == (0, False)
    assert time.monotonic() - began < 2 * server_side.SETTLE_S + 5


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("restarted", ["fallen", "gone", "began"])
async def test_a_restart_meanwhile_leaves_nothing_to_compare(restarted: str) -> None:
    metrics = Metrics()
    metrics.add(vllm_request_success_total=5)
    metrics.values["process_start_time_seconds"] = 1000.0

    def under_load() -> None:
        match restarted:
            case "fallen":
                metrics.add(vllm_request_success_total=-2)
            case "gone":
                metrics.values = {"vllm:generation_tokens_total": 3.0}
            case "began":
                metrics.add(vllm_request_success_total=3)
                metrics.values["process_start_time_seconds"] = 2000.0

    assert await grown(metrics, under_load, [*three(), failed(0.0)]) == ServerFigures(alone=False)


async def test_a_server_without_metrics_has_no_figures() -> None:
    side = ServerSide(None)
    await side.begin()
    assert await side.end(three()) is None
    assert side.problem == ""


async def test_metrics_that_cannot_be_read_are_told() -> None:
    metrics = Metrics()
    metrics.status = "404 Not Found"
    async with served(metrics) as url:
        side = ServerSide(url)
        await side.begin()
        assert "404" in side.problem
        assert await side.end(three()) is None
