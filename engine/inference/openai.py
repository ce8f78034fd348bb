"""The OpenAI protocol: chat completions, or plain completions where the model has no chat template."""

from collections.abc import AsyncGenerator
from typing import Any

from engine.deployment import Service
from engine.inference.channel import Chunk, PromptFailed, to_bytes
from engine.inference.http import HttpConnection
from engine.inference.prompt import PromptRequest, Transport
from engine.inference.sse import EventReader, error_in, excerpt, parse_object
from engine.text import mask_secrets

DONE = b"[DONE]"


class OpenAi:
    transport = Transport.OPENAI

    def __init__(self, service: Service, request: PromptRequest) -> None:
        self._request = request
        self._connection = HttpConnection(service.http, request, service.api_key)
        self._has_key = service.api_key is not None
        self.where = self._connection.base
        self._wanted = request.model or service.model
        self.model = ""

    @property
    def connected_s(self) -> float | None:
        return self._connection.connected_s

    @property
    def sent_at(self) -> float | None:
        return self._connection.sent_at

    async def open(self) -> None:
        status, body = await self._connection.call("GET", "/v1/models")
        if status in (401, 403):
            raise self._unauthorised(status)
        listing = parse_object(await self._connection.expect(status, body)).get("data")
        names = [
            entry["id"]
            for entry in (listing if isinstance(listing, list) else ())
            if isinstance(entry, dict) and isinstance(entry.get("id"), str)
        ]
        if self._wanted is None and len(names) != 1:
            raise PromptFailed(
                f"{self.where} serves several models: {excerpt(', '.join(names))}. Say which one is meant."
                if names
                else f"{self.where} serves no model."
            )
        self.model = self._wanted or names[0]

    async def stream(self) -> AsyncGenerator[Chunk, None]:
        messages = [{"role": "user", "content": self._request.prompt}]
        async with self._ask("/v1/chat/completions", messages=messages) as (status, blocks):
            refusal = await _read(blocks) if status != 200 else b""
            if status == 200:
                async for chunk in self._chunks(blocks):
                    yield chunk
        if status == 200:
            return
        if not _wants_template(status, refusal):
            raise self._refused(status, refusal)
        async with self._ask("/v1/completions", prompt=self._request.prompt) as (status, blocks):
            if status != 200:
                raise self._refused(status, await _read(blocks))
            async for chunk in self._chunks(blocks):
                yield chunk

    async def close(self) -> None:
        await self._connection.close()

    def _ask(self, path: str, **question: Any) -> Any:
        body = {
            "model": self.model,
            "max_tokens": self._request.sampling.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **question,
        }
        if self._request.sampling.temperature is not None:
            body["temperature"] = self._request.sampling.temperature
        return self._connection.stream(path, body)

    async def _chunks(self, blocks: AsyncGenerator[bytes, None]) -> AsyncGenerator[Chunk, None]:
        yield Chunk()
        events = EventReader()
        finished = False
        async for block in blocks:
            for event in events.feed(block):
                if event.strip() == DONE:
                    return
                chunk = _chunk(event)
                finished = finished or bool(chunk.finish_reason)
                yield chunk
        if not finished:
            raise PromptFailed(f"{self.where} ended its answer without an end mark.", "Its log may say why.")

    def _unauthorised(self, status: int) -> PromptFailed:
        if self._has_key:
            return PromptFailed(
                f"{self.where} does not accept the API key (HTTP {status}).",
                "The server was started with another one: start it anew, or correct where the key comes from.",
            )
        return PromptFailed(
            f"{self.where} asks for an API key (HTTP {status}), and its profile names none.",
            "Write `secrets: {VLLM_API_KEY: env}` in the profile and start it anew.",
        )

    def _refused(self, status: int, body: bytes) -> PromptFailed:
        return PromptFailed(f"{self.where} refused the prompt (HTTP {status}): {self._connection.reason(body)}")


def _wants_template(status: int, refusal: bytes) -> bool:
    return status == 400 and b"chat template" in refusal.lower().replace(b"_", b" ")


def _chunk(event: bytes) -> Chunk:
    answer = parse_object(event)
    error = error_in(answer)
    if error is not None:
        raise PromptFailed(f"The server reported an error: {mask_secrets(error)}")
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict):
        raise PromptFailed(f"The server sent a choice that is no object: {excerpt(event)}")
    reason = choice.get("finish_reason")
    return Chunk(
        to_bytes(_text(choice)),
        excerpt(reason, 40) if isinstance(reason, str) else "",
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _text(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        text = choice.get("text")
        return text if isinstance(text, str) else ""
    # `reasoning_content` was renamed to `reasoning`; a server that sends both sends the same text
    parts = (delta.get("reasoning_content") or delta.get("reasoning"), delta.get("content"))
    return "".join(part for part in parts if isinstance(part, str))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


async def _read(blocks: AsyncGenerator[bytes, None]) -> bytes:
    body = b""
    async for block in blocks:
        body += block
        if len(body) > 65536:
            break
    return body
