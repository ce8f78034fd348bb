"""What the client says of times, against a server that knows them. Figures: `python -m benchmarks.client_cost`."""

import asyncio
import statistics
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from engine.inference.client import PromptClient
from engine.inference.prompt import PromptOutcome, PromptResult, Token, Transport
from tests.unit.known_timing import KnownTiming, asking, known_timing, stamps

NEAR_S = 0.02
"""Of the median, on a machine that is busy with other tests"""


@pytest.fixture(scope="module")
def server() -> Iterator[KnownTiming]:
    with known_timing() as server:
        yield server


async def _measured(
    server: KnownTiming, transport: Transport, streams: int, tokens: int = 8, gap_s: float = 0.03
) -> list[tuple[PromptResult, list[float]]]:
    """Results, and when each one's tokens were written."""
    client = PromptClient(server.service(transport))
    requests = [asking(uuid4().hex, transport, tokens, 0.05, gap_s) for _ in range(streams)]
    try:
        results = await asyncio.gather(*(client.send(request) for request in requests))
    finally:
        await client.close()
    return [(one, await asyncio.to_thread(server.written, one.request)) for one in results]


@pytest.mark.parametrize("transport", list(Transport))
@pytest.mark.parametrize("streams", [1, 64])
async def test_tokens_are_stamped_when_they_come(server: KnownTiming, transport: Transport, streams: int) -> None:
    off = []
    for result, written in await _measured(server, transport, streams):
        assert result.outcome is PromptOutcome.DONE
        assert result.text == "".join(f" {number}" for number in range(8))
        assert result.timing.tokens_out == len(written) == len(result.gaps_s) + 1
        came = stamps(result)
        assert all(b >= a - 1e-4 for a, b in zip(written, came, strict=True)), "nothing comes before it is written"
        assert came == sorted(came)
        assert result.timing.total_s is not None
        assert result.timing.last_token_s is not None
        assert result.timing.total_s >= result.timing.last_token_s
        off += [b - a for a, b in zip(written, came, strict=True)]
    assert statistics.median(off) < NEAR_S


@pytest.mark.parametrize("transport", [Transport.OPENAI, Transport.TRITON_HTTP])
async def test_a_client_that_is_late_to_read_says_when_it_came_and_how_late_it_was(
    server: KnownTiming, transport: Transport
) -> None:
    held_s = 0.3

    def hold(_: Token) -> None:
        time.sleep(held_s if not held else 0)  # as a loop does that has too much to do
        held.append(1)

    held: list[int] = []
    client = PromptClient(server.service(transport))
    request = asking(uuid4().hex, transport, 2, 0.05, held_s / 3)
    try:
        result = await client.send(request, hold)
        lag_s = client.lag_s
    finally:
        await client.close()
    written = await asyncio.to_thread(server.written, request)
    assert stamps(result)[1] - written[1] < held_s / 3, "not the time when it was read at last"
    assert lag_s > held_s / 3


@pytest.mark.parametrize("transport", list(Transport))
async def test_the_next_prompt_goes_out_on_the_open_connection(server: KnownTiming, transport: Transport) -> None:
    client = PromptClient(server.service(transport))
    try:
        results = [await client.send(asking(uuid4().hex, transport, 2, 0.0, 0.0)) for _ in range(3)]
    finally:
        await client.close()
    assert [one.outcome for one in results] == [PromptOutcome.DONE] * 3, results[0].error
    assert results[0].timing.connected_s is not None
    assert [one.timing.connected_s for one in results[1:]] == [None, None]
