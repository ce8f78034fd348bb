"""How true the client's times are, and what a streamed token costs it, over each protocol.

A server in a process of its own writes tokens at set times and notes when. Off: the client's time of a token less the
server's. Of TTFT that is the first one's; of ITL, the difference of two. Then processor time of this process alone, for
a thousand tokens at 64 streams, beside the least that aiohttp (if it is here; `vllm bench serve` is built on it) and
httpx can do with the same stream: read its lines, parse each event, note the time.

python -m benchmarks.client_cost [tokens] [gap in ms]
"""

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from uuid import uuid4

from benchmarks.machine import machine
from engine.inference.client import PromptClient
from engine.inference.prompt import PromptRequest, Token, Transport
from tests.unit.known_timing import MODEL, KnownTiming, asking, known_timing, stamps

STREAMS = 64
FIRST_S = 0.2
ROUNDS = 3

Read = Callable[[PromptRequest], Awaitable[object]]


async def truth(server: KnownTiming, transport: Transport, streams: int, tokens: int, gap_s: float) -> str:
    client = PromptClient(server.service(transport))
    await client.send(asking(uuid4().hex, transport, 1, 0.0, 0.0))  # it knows its models, and has a connection
    requests = [asking(uuid4().hex, transport, tokens, FIRST_S, gap_s) for _ in range(streams)]
    results = await asyncio.gather(*(client.send(request) for request in requests))
    lag_s = client.lag_s
    await client.close()
    first, between = list[float](), list[float]()
    for result in results:
        written = await asyncio.to_thread(server.written, result.request)
        off = [came - wrote for came, wrote in zip(stamps(result), written, strict=True)]
        first.append(abs(off[0]))
        between += [abs(later - earlier) for earlier, later in pairwise(off)]
    return f"{transport:<12} {streams:>3}   {_spread(first)}   {_spread(between)}   {lag_s * 1e3:8.2f}"


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"{statistics.median(ordered) * 1e3:8.3f} {p99 * 1e3:8.3f}"


async def cost(read: Read, transport: Transport, tokens: int, gap_s: float) -> float:
    """Processor time of a thousand tokens, in s; the best of some rounds."""
    best = float("inf")
    for number in range(ROUNDS + 1):
        requests = [asking(uuid4().hex, transport, tokens, FIRST_S, gap_s) for _ in range(STREAMS)]
        began = time.process_time()
        await asyncio.gather(*(read(request) for request in requests))
        if number:  # in the first one, connections are opened
            best = min(best, time.process_time() - began)
    return best / (STREAMS * tokens) * 1000


async def ours(server: KnownTiming, transport: Transport, tokens: int, gap_s: float, *, live: bool = False) -> float:
    client, shown = PromptClient(server.service(transport)), list[Token]()
    on_token = shown.append if live else None
    try:
        return await cost(lambda request: client.send(request, on_token), transport, tokens, gap_s)
    finally:
        await client.close()


def _body(request: PromptRequest) -> dict[str, object]:
    messages = [{"role": "user", "content": request.prompt}]
    return {"model": MODEL, "messages": messages, "max_tokens": request.sampling.max_tokens, "stream": True}


def _noted(line: bytes | str, times: list[float]) -> None:
    data = line[6:]
    if data and data not in (b"[DONE]", "[DONE]") and json.loads(data)["choices"][0]["delta"].get("content"):
        times.append(time.perf_counter())


async def with_aiohttp(server: KnownTiming, tokens: int, gap_s: float) -> float | None:
    try:
        import aiohttp
    except ImportError:
        return None
    url = f"{server.http}/v1/chat/completions"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def read(request: PromptRequest) -> None:
            times: list[float] = []
            async with session.post(url, json=_body(request)) as answer:
                async for line in answer.content:
                    _noted(line.strip(), times)
            assert len(times) == tokens

        return await cost(read, Transport.OPENAI, tokens, gap_s)


async def with_httpx(server: KnownTiming, tokens: int, gap_s: float) -> float:
    import httpx

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(trust_env=False, limits=limits, timeout=60) as client:

        async def read(request: PromptRequest) -> None:
            times: list[float] = []
            url = f"{server.http}/v1/chat/completions"
            async with client.stream("POST", url, json=_body(request)) as answer:
                async for line in answer.aiter_lines():
                    _noted(line, times)
            assert len(times) == tokens

        return await cost(read, Transport.OPENAI, tokens, gap_s)


def main(tokens: int, gap_s: float) -> None:
    with known_timing() as server:
        print(f"machine: {machine()}; {tokens} tokens a stream, {gap_s * 1e3:g} ms apart; times in ms")
        print(f"{'off the truth':<12}         TTFT p50      p99   ITL p50      p99   read late by at most")
        for transport in Transport:
            for streams in (1, STREAMS):
                print(asyncio.run(truth(server, transport, streams, tokens, gap_s)))
        print(f"processor time of 1000 tokens, {STREAMS} streams at once, in ms")
        by_openai = asyncio.run(ours(server, Transport.OPENAI, tokens, gap_s))
        for transport in Transport:
            used = asyncio.run(ours(server, transport, tokens, gap_s))
            print(f"ours, {transport:<26} {used * 1e3:7.1f}")
        live = asyncio.run(ours(server, Transport.OPENAI, tokens, gap_s, live=True))
        print(f"ours, openai, text as it comes   {live * 1e3:7.1f}")
        aiohttp, httpx = (
            asyncio.run(with_aiohttp(server, tokens, gap_s)),
            asyncio.run(with_httpx(server, tokens, gap_s)),
        )
        if aiohttp is not None:
            print(f"aiohttp, read alone              {aiohttp * 1e3:7.1f}   {aiohttp / by_openai:.1f} × ours")
        print(f"httpx, read alone                {httpx * 1e3:7.1f}   {httpx / by_openai:.1f} × ours")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, (float(sys.argv[2]) if len(sys.argv) > 2 else 30.0) / 1000)
