"""Prompts to scripted servers, as tests of the client send them."""

from typing import Any

from engine.deployment import Protocol, Service
from engine.inference.client import PromptClient
from engine.inference.prompt import (
    PromptRequest,
    PromptResult,
    Sampling,
    Token,
)
from tests.unit.inference_server import (
    Script,
    ScriptedServer,
    openai,
    triton,
)

ASK = PromptRequest("hello", sampling=Sampling(8, 0.0), idle_timeout_s=20.0)


async def ask(service: Service, request: PromptRequest = ASK) -> tuple[list[str], PromptResult]:
    """The tokens and the result, which must be the one last event and hold the tokens' text."""
    pieces: list[Token] = []
    client = PromptClient(service)
    try:
        result = await client.send(request, pieces.append)
    finally:
        await client.close()
    tokens = [piece.text for piece in pieces]
    assert result.text == "".join(tokens)
    return tokens, result


async def ask_triton(stream: Script, request: PromptRequest = ASK, **routes: Any) -> tuple[list[str], PromptResult]:
    async with ScriptedServer(triton(stream, **routes)) as server:
        return await ask(server.service(), request)


async def ask_openai(
    chat: Script, completions: Script = (), request: PromptRequest = ASK
) -> tuple[list[str], PromptResult]:
    async with ScriptedServer(openai(chat, completions)) as server:
        return await ask(server.service(Protocol.OPENAI), request)
