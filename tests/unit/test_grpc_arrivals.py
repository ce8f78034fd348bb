"""What the client says of times and of a stream's beginning and end over gRPC, where another thread receives."""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import uuid4

from engine.deployment import Protocol, Service
from engine.inference.arrivals import Arrivals
from engine.inference.client import PromptClient
from engine.inference.prompt import Fault, PromptOutcome, PromptRequest, PromptResult, Token, Transport
from tests.unit.grpc_frames import Answer, serve_frames
from tests.unit.known_timing import asking, described, known_timing

HELD_S = 0.3
GRPC = Transport.TRITON_GRPC


async def _asked(answer: Answer, request: PromptRequest) -> PromptResult:
    server, port = await serve_frames(answer)
    client = PromptClient(Service(Protocol.TRITON, "", "", grpc=f"127.0.0.1:{port}"))
    try:
        return await client.send(request)
    finally:
        await client.close()
        server.close()


def _take_long() -> None:
    time.sleep(0.01)


async def test_messages_of_a_burst_have_one_time_however_long_each_takes_to_read() -> None:
    arrivals, loop = Arrivals(), asyncio.get_running_loop()
    told = [loop.create_future() for _ in range(4)]

    async def read(message: "asyncio.Future[None]") -> tuple[float, float]:
        await message
        at = arrivals.now()
        _take_long()
        return at, time.perf_counter()

    reading = [asyncio.ensure_future(read(message)) for message in told]
    await asyncio.sleep(0)
    for message in told[:3]:
        message.set_result(None)
    came = [(await one)[0] for one in reading[:3]]
    began = time.perf_counter()
    told[3].set_result(None)
    later, ended = await reading[3]
    assert came[0] == came[1] == came[2]
    assert began <= later <= ended, "what came when they had been read has its own time"


async def test_what_comes_while_another_is_read_is_not_said_to_have_come_before() -> None:
    arrivals, loop = Arrivals(), asyncio.get_running_loop()
    second = loop.create_future()
    came = list[float]()

    async def read(message: "asyncio.Future[None]", and_then: "asyncio.Future[None] | None") -> float:
        await message
        at = arrivals.now()
        if and_then:
            _take_long()
            came.append(time.perf_counter())
            and_then.set_result(None)
        return at

    first = loop.create_future()
    reading = asyncio.gather(read(first, second), read(second, None))
    await asyncio.sleep(0)
    first.set_result(None)
    _, at = await reading
    assert at >= came[0]


async def test_a_loop_that_is_late_to_read_grpc_says_how_late() -> None:
    def hold(_: Token) -> None:
        time.sleep(HELD_S if not held else 0)
        held.append(1)

    held: list[int] = []
    with known_timing() as server:
        client = PromptClient(server.service(GRPC))
        try:
            result = await client.send(asking(uuid4().hex, GRPC, 2, 0.05, HELD_S / 3), hold)
        finally:
            await client.close()
    assert result.outcome is PromptOutcome.DONE, result.error
    assert client.lag_s > HELD_S / 2


async def test_a_prompt_is_sent_when_its_bytes_go_out_and_not_when_they_are_handed_over() -> None:
    """What others of the loop do in between is no time of the server's."""
    let_go = list[float]()

    def hold() -> None:
        time.sleep(HELD_S)
        let_go.append(time.perf_counter())

    with known_timing() as server:
        client = PromptClient(server.service(GRPC))
        try:
            await client.send(asking(uuid4().hex, GRPC, 1, 0.0, 0.0))
            sending = asyncio.ensure_future(client.send(asking(uuid4().hex, GRPC, 1, 0.05, 0.0)))
            asyncio.get_running_loop().call_soon(hold)
            result = await sending
        finally:
            await client.close()
    assert result.sent_at is not None, result.error
    assert result.sent_at >= let_go[0]
    assert result.timing.first_token_s is not None
    assert result.timing.first_token_s >= 0.05, "the server waits so long, once it has the prompt"


async def test_the_request_is_whole_before_anything_is_answered() -> None:
    """By which a server whose model ends with flags alone ends the stream."""
    asked = list[tuple[str, bytes]]()

    async def ends(method: str, message: bytes) -> AsyncIterator[bytes]:
        asked.append((method, message))  # a method is answered when the client has said all
        if method != "ModelStreamInfer":
            yield described(method)

    result = await _asked(ends, asking("x", GRPC, 1, 0.0, 0.0))
    assert result.outcome is PromptOutcome.DONE, result.error
    assert result.text == ""
    assert asked[-1][0] == "ModelStreamInfer"
    assert b"text_input" in asked[-1][1]


async def test_a_message_that_is_none_is_said_to_be() -> None:
    async def rubbish(method: str, _: bytes) -> AsyncIterator[bytes]:
        yield b"\xff\xff\xff" if method == "ModelStreamInfer" else described(method)

    result = await _asked(rubbish, asking("x", GRPC, 1, 0.0, 0.0))
    assert result.fault is Fault.RUBBISH
    assert "cannot be read" in result.error
