"""What the console says of a real server under load, against what the client that made the load has counted."""

import asyncio
import json
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.metrics_reading import Bound, MetricsReading, Series
from engine.observe.exposition import ExpositionReader
from engine.observe.metrics import MetricsTracker
from engine.observe.scrape import scrape
from engine.settings import Settings
from tests.real.commands import Commands
from tests.real.test_vllm_real import commands
from tests.real.triton_support import DemoServer, demo_server, kill_all
from tests.real.vllm_support import LocalVllm, engine_of, first_in_line

SCRAPE_EVERY_S = 0.3
COUNT_WITHIN_S = 10.0
OVERHEAD_S = 0.5
"""What a client measures on top of the server, on a busy machine"""


@dataclass(frozen=True)
class Answered:
    tokens_in: int
    tokens_out: int
    first_s: float
    whole_s: float


class Watched:
    """A server's metrics, scraped again and again as the console does, and summed up."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tracker = MetricsTracker(url)
        self.text = ""
        self.most_running = 0.0

    async def look(self) -> None:
        self.text = await scrape(self.url)
        self.tracker.update(self.text, time.time())
        running = next((series.value for series in self.reading.series if series.key == "running"), None)
        self.most_running = max(self.most_running, running or 0.0)

    @property
    def reading(self) -> MetricsReading:
        return self.tracker.reading(time.time())

    def series(self, key: str) -> Series:
        return next(series for series in self.reading.series if series.key == key)

    def counted(self, key: str) -> float:
        """What the rates since the first scrape add up to."""
        series = self.series(key)
        spans = zip(series.times, series.times[1:], series.values[1:], strict=False)
        return sum((until - since) * (rate or 0.0) for since, until, rate in spans)

    async def until(self, key: str, value: float) -> None:
        deadline = time.monotonic() + COUNT_WITHIN_S
        while self.series(key).value != value:
            assert time.monotonic() < deadline, f"{key} is {self.series(key).value}"
            await asyncio.sleep(SCRAPE_EVERY_S)

    async def until_counted(self, key: str, count: float) -> None:
        deadline = time.monotonic() + COUNT_WITHIN_S
        while self.counted(key) < count - 0.01:
            assert time.monotonic() < deadline, f"{key}: {self.counted(key)} of {count} were counted"
            await asyncio.sleep(SCRAPE_EVERY_S)
        assert self.counted(key) == pytest.approx(count, abs=0.01)


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Watched]:
    watched = Watched(url)
    await watched.look()

    async def go_on() -> None:
        while True:
            await asyncio.sleep(SCRAPE_EVERY_S)
            await watched.look()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(go_on())
        try:
            yield watched
        finally:
            task.cancel()


async def at_once(ask: Callable[[int], Awaitable[Answered]], requests: int, concurrency: int) -> list[Answered]:
    places = asyncio.Semaphore(concurrency)

    async def one(number: int) -> Answered:
        async with places:
            return await ask(number)

    return await asyncio.gather(*(one(number) for number in range(requests)))


def agrees(series: Series, family: str, text: str, measured: Sequence[float], quantile: float) -> None:
    """The client's own quantile lies in the bucket that the console's comes from, or as much later as it may."""
    buckets = ExpositionReader(frozenset({family})).read(text).buckets[family]
    bounds = sorted(next(iter(buckets.values())))
    own = sorted(measured)[max(0, round(quantile * len(measured)) - 1)]
    assert series.value is not None, f"{series.key}: {len(measured)} were measured"
    if series.bound is Bound.BELOW:
        assert series.value == bounds[0]
        assert own <= bounds[0] + OVERHEAD_S
        return
    assert series.bound is Bound.EXACT
    upper = next(bound for bound in bounds if bound >= series.value - 1e-9)
    lower = max((bound for bound in bounds if bound < upper), default=0.0)
    assert lower <= own <= upper + OVERHEAD_S, f"{series.key}: {series.value} s, the client measured {own} s"


async def stream_lines(
    client: httpx.AsyncClient, url: str, body: dict[str, Any]
) -> AsyncGenerator[tuple[float, Any], None]:
    """Each event of a stream with its time."""
    async with client.stream("POST", url, json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield time.monotonic(), json.loads(line.removeprefix("data: "))


# -- Triton -----------------------------------------------------------------------------------------------------------


@pytest.mark.triton
@pytest.mark.timeout(180)
async def test_triton_agrees_with_its_client(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    server_of = demo_server(tmp_path)
    server = await loop.run_in_executor(None, server_of.__enter__)
    try:
        await _load_triton(server)
    finally:
        await loop.run_in_executor(None, server_of.__exit__, None, None, None)


async def _load_triton(server: DemoServer) -> None:
    requests, concurrency, tokens = 20, 4, 12
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client, watching(server.metrics) as watched:

        async def ask(number: int) -> Answered:
            body = {
                "text_input": f"The driver {number}",
                "stream": True,
                "return_num_input_tokens": True,
                "return_num_output_tokens": True,
                "sampling_parameters": json.dumps({"max_tokens": tokens, "ignore_eos": True, "seed": number}),
            }
            began, times, tokens_in, tokens_out = time.monotonic(), [], 0, 0
            url = f"{server.http}/v2/models/prose/generate_stream"
            async for at, chunk in stream_lines(client, url, body):
                times.append(at)
                tokens_in = int(chunk["num_input_tokens"])
                tokens_out += int(chunk["num_output_tokens"])
            return Answered(tokens_in, tokens_out, times[0] - began, times[-1] - began)

        answers = await at_once(ask, requests, concurrency)
        await watched.until_counted("requests", requests)
        await watched.until_counted("generation", sum(answer.tokens_out for answer in answers))
        await watched.until_counted("prompt", sum(answer.tokens_in for answer in answers))
        assert sum(answer.tokens_out for answer in answers) == requests * tokens
        assert watched.counted("failures") == 0
        firsts, wholes = ([getattr(one, name) for one in answers] for name in ("first_s", "whole_s"))
        for percent in (50, 90):
            first, whole = (watched.series(f"{key}_p{percent}") for key in ("ttft", "e2e"))
            agrees(first, "vllm:time_to_first_token_seconds", watched.text, firsts, percent / 100)
            agrees(whole, "vllm:e2e_request_latency_seconds", watched.text, wholes, percent / 100)
        assert watched.series("batch_size").value == 1, "it takes in one request at a time"
        # Asked of Triton itself, whose decoupled models take their requests in and answer later.
        told = (await client.get(f"{server.http}/v2/models/prose/stats")).json()["model_stats"][0]["inference_stats"]
        queued = told["queue"]["ns"] / told["queue"]["count"] / 1e9
        assert watched.series("queue_time").value == pytest.approx(queued, rel=0.01)

        refused = await client.post(f"{server.http}/v2/models/prose/generate", json={"nothing": "of this"})
        assert refused.status_code >= 400


# -- vLLM -------------------------------------------------------------------------------------------------------------


@pytest.mark.vllm
@pytest.mark.timeout(600)
async def test_vllm_agrees_with_its_client(tmp_path: Path, local_vllm: LocalVllm) -> None:
    loop = asyncio.get_running_loop()
    tritontui = commands(tmp_path, local_vllm, "counted")
    try:
        await loop.run_in_executor(None, _start, tritontui)
        service = (await loop.run_in_executor(None, tritontui.model, "counted"))["deployment"]["service"]
        await _load_vllm(service["http"], service["metrics"])
    finally:
        await loop.run_in_executor(None, kill_all, Settings.load())


def _start(tritontui: Commands) -> None:
    with tritontui.begin("up", "counted", "--wait", "--json") as up:
        _, err = up.communicate(timeout=400)
        assert up.returncode == 0, err + tritontui("logs", "counted").stdout[-3000:]


async def _load_vllm(http: str, metrics: str) -> None:
    requests, concurrency, tokens = 24, 4, 40
    async with httpx.AsyncClient(timeout=120, trust_env=False) as client, watching(metrics) as watched:

        async def ask(number: int) -> Answered:
            body = {
                "model": "counted",
                "prompt": f"Request {number}: what is in the log?",
                "max_tokens": tokens,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            began, times = time.monotonic(), []
            usage: dict[str, int] = {}
            async for at, chunk in stream_lines(client, f"{http}/v1/completions", body):
                if chunk["choices"]:
                    times.append(at)
                usage = chunk.get("usage") or usage
            return Answered(usage["prompt_tokens"], usage["completion_tokens"], times[0] - began, times[-1] - began)

        answers = await at_once(ask, requests, concurrency)
        await watched.until_counted("requests", requests)
        await watched.until_counted("generation", sum(answer.tokens_out for answer in answers))
        await watched.until_counted("prompt", sum(answer.tokens_in for answer in answers))
        assert sum(answer.tokens_out for answer in answers) == requests * tokens
        assert watched.counted("failures") == watched.counted("cancelled") == 0
        assert watched.most_running <= concurrency, "that it is told at all, the last request below shows"
        firsts, wholes = ([getattr(one, name) for one in answers] for name in ("first_s", "whole_s"))
        for percent in (50, 90):
            first, whole = (watched.series(f"{key}_p{percent}") for key in ("ttft", "e2e"))
            agrees(first, "vllm:time_to_first_token_seconds", watched.text, firsts, percent / 100)
            agrees(whole, "vllm:e2e_request_latency_seconds", watched.text, wholes, percent / 100)
        between = [(one.whole_s - one.first_s) / (one.tokens_out - 1) for one in answers]
        gap = watched.series("itl_p50")
        assert gap.value is not None
        if gap.bound is Bound.BELOW:
            assert statistics.median(between) < gap.value * 2
        else:
            assert statistics.median(between) == pytest.approx(gap.value, rel=1.0)

        # A client that goes away is no failure. (vLLM 0.32 counts it nowhere: what it has let go of it counts no more.)
        body = {"model": "counted", "prompt": "Endless", "max_tokens": 4000, "ignore_eos": True, "stream": True}
        engine = engine_of(http)
        try:
            async with aclosing(stream_lines(client, f"{http}/v1/completions", body)) as endless:
                with first_in_line():
                    await anext(endless)
                    engine.suspend()  # a server whose tokens come as fast as they can answers nobody who looks on
                await watched.until("running", 1)
        finally:
            engine.resume()
        await watched.until("running", 0)
        assert watched.counted("failures") == 0
        assert watched.counted("requests") == pytest.approx(requests, abs=0.01)
