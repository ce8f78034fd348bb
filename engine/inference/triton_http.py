"""Triton's generate extension: one POST, answered by server-sent events until the body ends (there is no end mark)."""

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

from engine.deployment import Service
from engine.inference.channel import Chunk, PromptFailed
from engine.inference.http import HttpConnection
from engine.inference.prompt import PromptRequest, Transport
from engine.inference.sse import EventReader, error_in, error_message, excerpt, parse_object
from engine.inference.triton_model import Reader, TritonModel, find_model


class TritonHttp:
    transport = Transport.TRITON_HTTP

    def __init__(self, service: Service, request: PromptRequest) -> None:
        self._request = request
        self._wanted = request.model or service.model
        self._connection = HttpConnection(service.http, request)
        self._model: TritonModel | None = None
        self.where = self._connection.base

    @property
    def model(self) -> str:
        return self._model.name if self._model else ""

    @property
    def connected_s(self) -> float | None:
        return self._connection.connected_s

    @property
    def sent_at(self) -> float | None:
        return self._connection.sent_at

    async def open(self) -> None:
        self._model = await find_model(self, self._wanted)

    async def stream(self) -> AsyncGenerator[Chunk, None]:
        assert self._model is not None, "open() comes first"  # noqa: S101
        path = f"/v2/models/{quote(self._model.name, safe='')}/generate_stream"
        reader, events = Reader(self._model), EventReader()
        async with self._connection.stream(path, dict(self._model.values(self._request))) as (status, blocks):
            if status != 200:
                raise PromptFailed(f"{self.where} refused the prompt (HTTP {status}): {await _error(blocks)}")
            yield Chunk()
            async for block in blocks:
                for event in events.feed(block):
                    yield reader.read(_answer(event))
            for event in events.end():
                yield reader.read(_answer(event))
        yield reader.end()

    async def close(self) -> None:
        await self._connection.close()

    async def index(self) -> list[dict[str, Any]]:
        status, body = await self._connection.call("POST", "/v2/repository/index", {"ready": True})
        listed = await self._connection.expect(status, body)
        entries = parse_object(b'{"models":' + (listed or b"[]") + b"}")["models"]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise PromptFailed(f"{self.where} lists its models in an unknown way: {excerpt(listed)}")
        return entries

    async def metadata(self, model: str) -> dict[str, Any]:
        return await self._connection.get_object(f"/v2/models/{quote(model, safe='')}")

    async def config(self, model: str) -> dict[str, Any]:
        return await self._connection.get_object(f"/v2/models/{quote(model, safe='')}/config")


def _answer(event: bytes) -> dict[str, Any]:
    answer = parse_object(event)
    error = error_in(answer)
    if error is not None:
        raise PromptFailed(f"The model reported an error: {error}")
    return answer


async def _error(blocks: AsyncGenerator[bytes, None]) -> str:
    body = b""
    async for block in blocks:
        body += block
        if len(body) > 65536:
            break
    return error_message(body)
