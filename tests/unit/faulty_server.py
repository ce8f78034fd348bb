"""Servers that go wrong at a set point: HTTP from raw bytes, and Triton's gRPC behind a wire that is cut anywhere."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

import grpc  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from tests.unit.loopback_server import LoopbackServer, read_request

MODEL = "llama"
INPUTS = ("text_input", "sampling_parameters")
_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER: what is closed is reset"""


class Act(Enum):
    RESET = auto()
    CLOSE = auto()
    STALL = auto()
    """Say nothing more, and wait until the client hangs up"""


@dataclass(frozen=True)
class Seen:
    """Wait until the client has shown as many pieces of text."""

    pieces: int


@dataclass(frozen=True)
class Drip:
    """One byte a time."""

    data: bytes


@dataclass(frozen=True)
class Endless:
    """Again and again, until the client hangs up."""

    data: bytes


Step = bytes | Act | Seen | Drip | Endless


class Shown:
    """Counts what the client has shown, for servers that wait for it."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._more = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, text: str) -> None:
        self.pieces.append(text)
        task = asyncio.ensure_future(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self, pieces: int) -> None:
        async with self._more:
            await self._more.wait_for(lambda: len(self.pieces) >= pieces)

    async def _tell(self) -> None:
        async with self._more:
            self._more.notify_all()


@dataclass
class FaultyHttp(LoopbackServer):
    """Answers each `METHOD /path` with its script, 404 for others; at a connection first does what `greeting` says."""

    routes: dict[str, Sequence[Step]] = field(default_factory=dict)
    greeting: Sequence[Step] = ()
    shown: Shown = field(default_factory=Shown)
    asked: list[str] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has hung up while a script went on"""
    stalled: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, data: bytes) -> None:
        """To everybody, unasked."""
        for writer in self._open.values():
            writer.write(data)

    def end_connections(self) -> None:
        """At once, without a turn of the event loop."""
        for writer in self._open.values():
            writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def count(self, path_end: str) -> int:
        return sum(asked.endswith(path_end) for asked in self.asked)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        goes_on = await self._follow(self.greeting, reader, writer)
        while goes_on:
            request = await read_request(reader)
            asked = f"{request.method} {request.path}"
            self.asked.append(asked)
            script = self.routes.get(asked, (b"HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n",))
            goes_on = await self._follow(script, reader, writer)

    async def _follow(self, script: Sequence[Step], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        for step in script:
            match step:
                case bytes():
                    writer.write(step)
                    await writer.drain()
                case Seen():
                    await self.shown.wait(step.pieces)
                case Drip():
                    for number in range(len(step.data)):
                        writer.write(step.data[number : number + 1])
                        await asyncio.sleep(0)
                case Endless():
                    await self._endless(step.data, writer)
                    return False
                case Act.STALL:
                    self.stalled.set()
                    with contextlib.suppress(ConnectionError):
                        while await reader.read(1 << 16):
                            pass
                    self.gone.set()
                    return False
                case Act.RESET:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                    return False
                case Act.CLOSE:
                    return False
        return True

    async def _endless(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            self.gone.set()


# -- gRPC --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refuse:
    """End the call with a status."""

    code: str
    details: str


@dataclass(frozen=True)
class Error:
    """Triton's way of reporting an error of a model within the stream."""

    message: str


@dataclass(frozen=True)
class Raw:
    """A tensor whose content is these bytes as they are."""

    name: str
    datatype: str
    content: bytes


@dataclass(frozen=True)
class Half:
    """Of this message only as many bytes reach the client, then the act follows."""

    message: "GrpcStep"
    wire_bytes: int
    act: Act


class Begin(Enum):
    HEAD = auto()
    """Say that the answer begins"""


GrpcStep = bytes | Mapping[str, Any] | Refuse | Error | Raw | Half | Seen | Endless | Act | Begin
"""Bytes are text; a mapping are fields of a response"""


def response(step: "GrpcStep") -> Any:
    """The message that a step stands for."""
    if isinstance(step, Error):
        return service_pb2.ModelStreamInferResponse(error_message=step.message)
    answer = service_pb2.ModelInferResponse(model_name=MODEL)
    if isinstance(step, Raw):
        answer.outputs.add(name=step.name, datatype=step.datatype, shape=[1])
        answer.raw_output_contents.append(step.content)
        return service_pb2.ModelStreamInferResponse(infer_response=answer)
    fields = {"text_output": step} if isinstance(step, bytes) else step
    assert isinstance(fields, Mapping), step
    for name, value in fields.items():
        if isinstance(value, int):
            answer.outputs.add(name=name, datatype="INT64", shape=[1])
            answer.raw_output_contents.append(struct.pack("<q", value))
        else:
            answer.outputs.add(name=name, datatype="BYTES", shape=[1])
            answer.raw_output_contents.append(struct.pack("<I", len(value)) + value)
    return service_pb2.ModelStreamInferResponse(infer_response=answer)


class FaultyGrpc(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """A Triton server with one model, as far as a prompt needs it; `port` is that of the wire before it."""

    def __init__(
        self,
        script: Sequence[GrpcStep],
        shown: Shown | None = None,
        *,
        drips: bool = False,
        first: GrpcStep | None = None,
        port: int = 0,
    ) -> None:
        """`first`: what happens when it is asked for its model. `port`: a free one unless told."""
        self.shown = shown or Shown()
        self.gone = asyncio.Event()
        self.stalled = asyncio.Event()
        self.asked = self.connections = 0
        self.port = port
        self.script = script
        self._drips = drips
        self._first = first
        self._left: int | None = None
        """Bytes that still reach the client; None: all"""
        self._then: Act | None = None
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self._inner = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self._wire = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._wire.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._wire.close()
        tasks = [task for task in self._tasks if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.stop(0)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self._open.add(writer)
        self.connections += 1
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._inner)
        up = asyncio.ensure_future(self._up(reader, inner_writer))
        self._tasks.add(up)
        try:
            await self._down(inner_reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            up.cancel()
            self._open.discard(writer)
            inner_writer.close()
            writer.close()

    @staticmethod
    async def _up(reader: asyncio.StreamReader, inner: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                inner.write(data)
                await inner.drain()
        inner.close()

    async def _down(self, inner: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := await inner.read(1 << 16):
            if self._left is not None:
                data, self._left = data[: self._left], self._left - len(data)
            for piece in (data[at : at + 1] for at in range(len(data))) if self._drips else (data,):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if self._left is not None and self._left <= 0:
                self._left = 0
                if self._then is Act.RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
                if self._then is not Act.STALL:
                    return

    def end_connections(self) -> None:
        for writer in self._open:
            writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _break(self, after_bytes: int, act: Act) -> None:
        """For all time."""
        self._left, self._then = after_bytes, act

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802 (the service's names)
        return service_pb2.ServerLiveResponse(live=True)

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        model = service_pb2.RepositoryIndexResponse.ModelIndex(name=MODEL, state="READY")
        return service_pb2.RepositoryIndexResponse(models=[model])

    async def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        if isinstance(self._first, Refuse):
            await context.abort(getattr(grpc.StatusCode, self._first.code), self._first.details)
        if self._first is Act.STALL:
            await asyncio.Event().wait()
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        inputs = [tensor(name=name, datatype="BYTES", shape=[1]) for name in INPUTS]
        return service_pb2.ModelMetadataResponse(name=MODEL, inputs=inputs)

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        policy = model_config_pb2.ModelTransactionPolicy(decoupled=True)
        config = model_config_pb2.ModelConfig(name=MODEL, model_transaction_policy=policy)
        return service_pb2.ModelConfigResponse(config=config)

    async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        async for _ in requests:
            self.asked += 1
            break
        try:
            for step in self.script:
                match step:
                    case Seen():
                        await self.shown.wait(step.pieces)
                    case Begin.HEAD:
                        await context.send_initial_metadata(())
                    case Refuse():
                        await context.abort(getattr(grpc.StatusCode, step.code), step.details)
                    case Endless():
                        while True:
                            yield response(step.data)
                    case Half():
                        self._break(step.wire_bytes, step.act)
                        yield response(step.message)
                        self.stalled.set()
                        await asyncio.Event().wait()
                    case Act.STALL:
                        self.stalled.set()
                        await asyncio.Event().wait()
                    case Act():
                        self._break(0, step)
                        yield response(b"never seen")
                        await asyncio.Event().wait()
                    case _:
                        yield response(step)
        except (asyncio.CancelledError, GeneratorExit):
            self.gone.set()
            raise
