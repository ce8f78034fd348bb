"""Triton's generate extension: one POST, answered by server-sent events until the body ends (there is no end mark)."""

import time
from typing import Any
from urllib.parse import quote

from engine.deployment import Service
from engine.inference.channel import PromptFailed
from engine.inference.event_stream import EventStream
from engine.inference.http import HttpConnection
from engine.inference.learnt import Learnt
from engine.inference.measured import Measured
from engine.inference.prompt import Fault, PromptRequest, Style, Transport
from engine.inference.server import TRITON
from engine.inference.sse import error_in, excerpt, parse_object
from engine.inference.tensor_outputs import outputs_text
from engine.inference.tensors import infer_body
from engine.inference.triton_model import Reader, TritonModel, find_model
from engine.inference.unfit import refused


class TritonHttp:
    transport = Transport.TRITON_HTTP

    def __init__(self, service: Service) -> None:
        self._meant = service.model
        self._connection = HttpConnection(service.http)
        self._models: Learnt[TritonModel] = Learnt()
        self.where = self._connection.base

    @property
    def lag_s(self) -> float:
        return self._connection.lag_s

    async def carry_out(self, request: PromptRequest, measured: Measured) -> None:
        wanted, tensors = request.model or self._meant, request.tensors is not None
        model = await self._models.get((wanted, tensors), lambda: self._find(wanted, request, measured))
        measured.model = model.name
        path = f"/v2/models/{quote(model.name, safe='')}"
        if request.tensors is not None:
            await self._infer(path, infer_body(model, request.tensors), request, measured)
            return
        measured.style = Style.COMPLETION
        reader = Reader(model)

        def take(event: bytes, at: float) -> bool:
            measured.chunk(reader.read(_answer(event)), at)
            return False

        stream = EventStream(measured, take, self.where)
        await self._connection.stream(f"{path}/generate_stream", dict(model.values(request)), stream, request)
        if stream.status != 200:
            raise self._refused(stream.status, stream.refusal, request)
        measured.chunk(reader.end(), measured.ended_at or time.perf_counter())

    async def close(self) -> None:
        self._models.close()
        await self._connection.close()

    async def _infer(self, path: str, body: dict[str, Any], request: PromptRequest, measured: Measured) -> None:
        """One answer in one piece: of it there is no other time than that of its end."""
        answer = await self._connection.exchange("POST", f"{path}/infer", body, request)
        measured.sent(answer.sent_at)
        measured.began(answer.began_at)
        measured.ended(answer.ended_at)
        if answer.status != 200:
            raise self._refused(answer.status, answer.body, request)
        outputs = parse_object(answer.body).get("outputs")
        if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
            raise PromptFailed(f"{self.where} sent an answer without outputs: {excerpt(answer.body)}")
        measured.text(outputs_text(outputs).encode(), answer.ended_at)

    async def _find(self, wanted: str | None, request: PromptRequest, measured: Measured) -> TritonModel:
        found = await find_model(_Repository(self._connection, request), wanted, tensors=request.tensors is not None)
        measured.connected_s = self._connection.connected_s
        return found

    def _refused(self, status: int, body: bytes, request: PromptRequest) -> PromptFailed:
        reason = self._connection.server.reason(body)
        return refused(f"{self.where} refused the prompt (HTTP {status})", reason, request, Fault.REFUSED)


class _Repository:
    """What the server says about its models, within a request's limits of time."""

    def __init__(self, connection: HttpConnection, limits: PromptRequest) -> None:
        self._connection = connection
        self._limits = limits

    async def index(self) -> list[dict[str, Any]]:
        call = self._connection.call("POST", "/v2/repository/index", {"ready": True}, self._limits)
        listed = self._connection.server.expect(*await call, TRITON)
        entries = parse_object(b'{"models":' + (listed or b"[]") + b"}")["models"]
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise PromptFailed(f"{self._connection.base} lists its models in an unknown way: {excerpt(listed)}")
        return entries

    async def metadata(self, model: str) -> dict[str, Any]:
        return await self._connection.get_object(f"/v2/models/{quote(model, safe='')}", self._limits)

    async def config(self, model: str) -> dict[str, Any]:
        return await self._connection.get_object(f"/v2/models/{quote(model, safe='')}/config", self._limits)


def _answer(event: bytes) -> dict[str, Any]:
    answer = parse_object(event)
    error = error_in(answer)
    if error is not None:
        raise PromptFailed(f"The model reported an error: {error}", fault=Fault.ERROR)
    return answer
