"""Connections from one prompt to the next, and what is waited for, or complained of, when one is at its end."""

import asyncio
import gc
import json
from typing import Any, Literal

import pytest

from engine.deployment import Protocol, Service
from engine.inference.client import PromptClient
from engine.inference.event_stream import END_S
from engine.inference.prompt import Fault, PromptOutcome, PromptRequest, Transport
from tests.unit.inference_server import END, Act, ScriptedServer, delta, event, head, openai, reply

ASK = PromptRequest("hello", connect_timeout_s=5.0, idle_timeout_s=20.0)
DONE = event(b"[DONE]")


class Gate(asyncio.Event):
    """A step of a script that says when it is reached."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> Literal[True]:
        self.reached.set()
        return await super().wait()


@pytest.fixture
async def complaints() -> list[dict[str, Any]]:
    """What the event loop has to say of failures that nobody took."""
    found: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    return found


async def test_a_server_that_never_ends_its_answer_after_the_end_mark_holds_up_nothing() -> None:
    async with ScriptedServer(openai([head(), delta(content="all"), DONE, Act.STALL])) as server:
        client = PromptClient(server.service(Protocol.OPENAI))
        first = await client.send(ASK)
        await asyncio.wait_for(server.hung_up.wait(), 10)
        server.routes["POST /v1/chat/completions"] = [head(), delta(content="more"), DONE, END]
        second = await client.send(ASK)
        await client.close()
        assert [one.outcome for one in (first, second)] == [PromptOutcome.DONE] * 2, (first.error, second.error)
        assert (first.text, second.text, server.connections) == ("all", "more", 2)
    assert first.timing.total_s is not None
    assert first.timing.last_token_s is not None
    assert first.timing.total_s - first.timing.last_token_s < END_S, "it was over with its end mark"
    assert second.timing.connected_s is not None, "where an answer has not ended, no other prompt can follow"


async def test_a_connection_that_the_server_closes_after_its_answer_is_not_used_again() -> None:
    whole = [head(), delta(content="all"), DONE, END]
    async with ScriptedServer(openai([*whole, Act.CUT])) as server:
        client = PromptClient(server.service(Protocol.OPENAI))
        results = [await client.send(ASK) for _ in range(3)]
        await client.close()
        prompts = [asked for asked in server.asked if asked.method == "POST"]
    assert [one.text for one in results] == ["all"] * 3, [one.error for one in results]
    assert len(prompts) == 3


def _triton_model(server: ScriptedServer) -> Service:
    tensor = {"datatype": "FP32", "shape": [2]}
    server.routes |= {
        "POST /v2/repository/index": [reply([{"name": "add", "state": "READY"}])],
        "GET /v2/models/add": [reply({"name": "add", "inputs": [{"name": "A", **tensor}]})],
        "GET /v2/models/add/config": [reply({"name": "add"})],
    }
    return server.service(model="add")


async def test_tensors_go_and_come_by_the_client() -> None:
    answer = {"outputs": [{"name": "SUM", "datatype": "FP32", "shape": [2], "data": [2.5, 4.0]}]}
    async with ScriptedServer({"POST /v2/models/add/infer": [reply(answer)]}) as server:
        client = PromptClient(_triton_model(server))
        result = await client.send(PromptRequest("", tensors='{"A": [1.5, 2]}', idle_timeout_s=20.0))
        await client.close()
        sent = server.last("/infer").json
    assert (result.outcome, result.error) == (PromptOutcome.DONE, "")
    assert json.loads(result.text) == {"SUM": [2.5, 4.0]}
    assert sent["inputs"] == [{"name": "A", "datatype": "FP32", "shape": [2], "data": [1.5, 2]}]
    assert (result.model, result.transport, result.style) == ("add", Transport.TRITON_HTTP, None)
    timing = result.timing
    assert timing.first_byte_s is not None
    assert timing.total_s is not None
    assert 0 < timing.first_byte_s <= timing.total_s == timing.first_token_s


@pytest.mark.parametrize(
    ("answer", "fault", "said"),
    [
        (reply({"error": "unexpected shape"}, status=400), Fault.REFUSED, "(HTTP 400): unexpected shape"),
        (reply({"id": ""}), Fault.RUBBISH, "an answer without outputs"),
        (b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\n{", Fault.CUT, "the connection"),
    ],
)
async def test_tensors_that_are_not_answered(answer: bytes, fault: Fault, said: str) -> None:
    async with ScriptedServer({"POST /v2/models/add/infer": [answer, Act.CUT]}) as server:
        client = PromptClient(_triton_model(server))
        result = await client.send(PromptRequest("", tensors='{"A": [1.5, 2]}', idle_timeout_s=20.0))
        await client.close()
    assert (result.outcome, result.fault) == (PromptOutcome.FAILED, fault)
    assert said in result.error


@pytest.mark.parametrize("route", ["GET /v1/models", "POST /v1/chat/completions"])
@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_server_that_goes_while_its_prompts_are_cancelled_leaves_no_complaint(
    route: str, cancelled_first: bool, complaints: list[dict[str, Any]]
) -> None:
    held = Gate()
    server = ScriptedServer({**openai([]), route: [held, Act.CUT]})
    async with server:
        client = PromptClient(server.service(Protocol.OPENAI))
        tasks = [asyncio.create_task(client.send(ASK)) for _ in range(3)]
        await asyncio.wait_for(held.reached.wait(), 20)
        for task in tasks if cancelled_first else ():
            task.cancel()
        held.set()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    with pytest.raises(ConnectionError):  # time for what the system has still to say
        await (await asyncio.open_connection("127.0.0.1", server.port))[0].read()
    await client.close()
    del tasks, task, client
    gc.collect()
    assert complaints == []
