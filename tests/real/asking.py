"""One prompt to a real server."""

from engine.deployment import Service
from engine.inference.client import PromptClient
from engine.inference.prompt import PromptRequest, PromptResult, Token


async def asked(service: Service, request: PromptRequest) -> tuple[list[str], PromptResult]:
    """The pieces as they came, and what came of it."""
    pieces: list[Token] = []
    client = PromptClient(service)
    try:
        result = await client.send(request, pieces.append)
    finally:
        await client.close()
    return [piece.text for piece in pieces], result
