"""The OpenAI protocol against scripted servers."""

import asyncio

import pytest

from engine.deployment import Protocol
from engine.inference.client import PromptClient
from engine.inference.prompt import (
    Fault,
    PromptOutcome,
    PromptRequest,
    Style,
)
from tests.unit.asking import ask, ask_openai
from tests.unit.inference_server import (
    END,
    Script,
    ScriptedServer,
    delta,
    event,
    head,
    openai,
    reply,
)


async def test_chat_counts_neither_the_role_nor_the_usage_as_a_token() -> None:
    role_seen = asyncio.Event()
    role_seen.set()
    usage = event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
    stop = event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    pieces = [
        delta(role="assistant", content=""),
        delta(reasoning_content="hm "),
        delta(reasoning="so"),
        delta(content="yes"),
        stop,
        usage,
    ]
    async with ScriptedServer(openai([head(), *pieces, event(b"[DONE]"), END])) as server:
        tokens, result = await ask(server.service(Protocol.OPENAI))
        sent = server.last("/chat/completions").json
    assert tokens == ["<think>hm ", "so", "</think>\n\nyes"]
    assert (result.outcome, result.finish_reason, result.model) == (PromptOutcome.DONE, "stop", "llama")
    assert (result.timing.tokens_in, result.timing.tokens_out, result.timing.token_source) == (7, 3, "server")
    assert len(result.gaps_s) == 2
    assert sent["stream_options"] == {"include_usage": True}
    assert (sent["max_tokens"], sent["temperature"]) == (8, 0.0)


async def test_a_model_without_a_chat_template_is_asked_plainly_unless_a_chat_was_asked_for() -> None:
    refusal = reply({"error": {"message": "you must provide a chat template", "code": 400}}, status=400)
    plain = [head(), event({"choices": [{"text": "plain", "finish_reason": "length"}]}), event(b"[DONE]"), END]
    _, result = await ask_openai([refusal], plain)
    assert (result.text, result.finish_reason) == ("plain", "length")
    _, result = await ask_openai([refusal], plain, PromptRequest("x", style=Style.CHAT))
    assert "its model has no chat template. Send the prompt as a completion" in result.error


@pytest.mark.parametrize(
    ("chat", "said"),
    [
        ([head(), delta(content="so far"), event({"error": {"message": "engine died"}}), END], "an error: engine died"),
        ([head(), delta(content="so far"), event({"object": "error", "message": "gone"}), END], "an error: gone"),
        ([head(), delta(content="so far"), END], "ended its answer without an end mark"),
        ([reply({"object": "error", "message": "too long"}, status=400)], "(HTTP 400): too long"),
        ([reply({"detail": "Not Found"}, status=404)], "(HTTP 404): Not Found"),
        ([head(), event({"choices": ["x"]}), END], "a choice that is no object"),
    ],
)
async def test_what_goes_wrong_with_openai_is_said_in_a_sentence(chat: Script, said: str) -> None:
    _, result = await ask_openai(chat)
    assert result.outcome is PromptOutcome.FAILED
    assert said in result.error


async def test_a_model_that_is_not_served_is_refused_with_the_names_of_those_that_are() -> None:
    refusal = reply({"error": {"message": "The model `lama` does not exist.", "code": 404}}, status=404)
    async with ScriptedServer(openai([refusal], models=("qwen", "llama"))) as server:
        _, result = await ask(server.service(Protocol.OPENAI), PromptRequest("x", model="lama"))
    assert result.fault is Fault.REFUSED
    assert result.error.endswith("The model `lama` does not exist. Choose one of those that it serves: llama, qwen.")


async def test_openai_models_are_discovered() -> None:
    async with ScriptedServer(openai([], models=("a", "b"))) as server:
        _, result = await ask(server.service(Protocol.OPENAI))
        assert "serves several models: a, b. Say which one is meant." in result.error
    async with ScriptedServer({"GET /v1/models": [reply({"error": "Unauthorized"}, status=401)]}) as server:
        _, result = await ask(server.service(Protocol.OPENAI))
        assert "asks for an API key" in result.error
        assert "`secrets: {VLLM_API_KEY: env}`" in result.error


async def test_an_adapter_that_was_loaded_since_is_found_and_one_that_was_not_is_refused() -> None:
    routes = openai([head(), delta(content="hi"), event(b"[DONE]"), END])
    async with ScriptedServer(routes) as server:
        client = PromptClient(server.service(Protocol.OPENAI))
        await client.send(PromptRequest("x"))
        listed = [{"id": "llama"}, {"id": "style", "parent": "llama"}]
        routes["GET /v1/models"] = [reply({"data": listed})]
        found = await client.send(PromptRequest("x", lora="style"))
        assert (found.outcome, found.model) == (PromptOutcome.DONE, "style")
        listings = len([asked for asked in server.asked if asked.path == "/v1/models"])
        refused = await asyncio.gather(*(client.send(PromptRequest("x", lora="other")) for _ in range(20)))
        assert {one.fault for one in refused} == {Fault.UNFIT}
        assert len([asked for asked in server.asked if asked.path == "/v1/models"]) == listings + 1, "of all at once"
        await client.close()
