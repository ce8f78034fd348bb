"""An HTTP server on loopback that follows a script byte by byte, well or badly, and notes what its client does."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

from engine.deployment import Protocol, Service


class Act(Enum):
    STALL = auto()
    """Say nothing more and wait until the client hangs up"""
    CUT = auto()
    """Drop the connection"""


Step = bytes | Act | asyncio.Event
"""Bytes are written, an event is waited for"""
Script = Sequence[Step]

VLLM_INPUTS = (
    "text_input",
    "stream:BOOL",
    "sampling_parameters",
    "exclude_input_in_output:BOOL",
    "return_finish_reason:BOOL",
    "return_num_input_tokens:BOOL",
    "return_num_output_tokens:BOOL",
)
TRTLLM_INPUTS = ("text_input", "max_tokens:INT32", "temperature:FP32", "stream:BOOL", "end_id:INT32")
LLMAPI_INPUTS = ("text_input", "streaming:BOOL", "sampling_param_max_tokens:INT32", "sampling_param_temperature:FP32")


@dataclass
class Asked:
    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    """By their names in lower case"""

    @property
    def json(self) -> dict[str, Any]:
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


@dataclass
class ScriptedServer:
    """Answers each `METHOD /path` with its script; 404 for others."""

    routes: dict[str, Script]
    asked: list[Asked] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed while a script stalled"""
    connections: int = 0
    port: int = 0
    _open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*(task for task in self._open if task))

    def service(
        self, protocol: Protocol = Protocol.TRITON, model: str | None = None, api_key: str | None = None
    ) -> Service:
        base = f"http://127.0.0.1:{self.port}"
        return Service(protocol=protocol, http=base, health=base, model=model, api_key=api_key)

    def last(self, path_end: str) -> Asked:
        return next(asked for asked in reversed(self.asked) if asked.path.endswith(path_end))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[asyncio.current_task()] = writer
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has what it wanted
        finally:
            writer.close()
            del self._open[asyncio.current_task()]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        lines = (line.partition(":") for line in head.decode("latin-1").splitlines()[1:])
        headers = {name.lower(): value.strip() for name, colon, value in lines if colon}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.asked.append(Asked(method, path, body, headers))
        for step in self.routes.get(f"{method} {path}", [reply({"error": f"no {path}"}, status=404)]):
            match step:
                case Act.CUT:
                    writer.transport.abort()
                    return False
                case Act.STALL:
                    await reader.read(1)
                    self.hung_up.set()
                    return False
                case asyncio.Event():
                    await step.wait()
                case bytes():
                    writer.write(step)
                    await writer.drain()
        return True


def reply(body: object, *, status: int = 200, content_type: str = "application/json") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data


def head(status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".encode()


def block(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(answer: object) -> bytes:
    """One server-sent event in one block of the body."""
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return block(b"data: " + data + b"\n\n")


END = b"0\r\n\r\n"


def triton(stream: Script, *, model: str = "llama", inputs: Sequence[str] = VLLM_INPUTS) -> dict[str, Script]:
    """Routes of a Triton server with one model that takes text and a helper that does not."""

    def metadata(name: str, tensors: Sequence[str]) -> bytes:
        split = [tensor.partition(":") for tensor in tensors]
        described = [{"name": key, "datatype": kind or "BYTES", "shape": [1]} for key, _, kind in split]
        return reply({"name": name, "inputs": described, "outputs": [{"name": "text_output"}]})

    index = [{"name": model, "state": "READY"}, {"name": "helper", "state": "READY"}, {"name": "off"}]
    return {
        "POST /v2/repository/index": [reply(index)],
        f"GET /v2/models/{model}": [metadata(model, inputs)],
        "GET /v2/models/helper": [metadata("helper", ["QUERY"])],
        f"GET /v2/models/{model}/config": [reply({"model_transaction_policy": {"decoupled": True}})],
        f"POST /v2/models/{model}/generate_stream": stream,
    }


def openai(chat: Script, completions: Script = (), models: Sequence[str] = ("llama",)) -> dict[str, Script]:
    """Routes of an OpenAI server."""
    return {
        "GET /v1/models": [reply({"object": "list", "data": [{"id": name} for name in models]})],
        "POST /v1/chat/completions": chat,
        "POST /v1/completions": completions,
    }


def delta(**fields: object) -> bytes:
    """A chat chunk."""
    return event({"choices": [{"index": 0, "delta": fields}]})
