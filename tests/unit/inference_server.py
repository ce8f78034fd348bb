"""An HTTP server on loopback that follows a script byte by byte, well or badly, and notes what its client does."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from engine.deployment import Protocol, Service
from tests.unit.loopback_server import Asked, LoopbackServer, read_request


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
class ScriptedServer(LoopbackServer):
    """Answers each `METHOD /path` with its script; 404 for others."""

    routes: dict[str, Script]
    asked: list[Asked] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed while a script stalled"""

    def service(
        self, protocol: Protocol = Protocol.TRITON, model: str | None = None, api_key: str | None = None
    ) -> Service:
        base = f"http://127.0.0.1:{self.port}"
        return Service(protocol=protocol, http=base, health=base, model=model, api_key=api_key)

    def last(self, path_end: str) -> Asked:
        return next(asked for asked in reversed(self.asked) if asked.path.endswith(path_end))

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._answer(reader, writer):
            pass

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = await read_request(reader)
        self.asked.append(asked)
        missing = [reply({"error": f"no {asked.path}"}, status=404)]
        for step in self.routes.get(f"{asked.method} {asked.path}", missing):
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
