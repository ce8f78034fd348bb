"""A gRPC server at the level of HTTP/2's frames (RFC 9113), so that a message is on the wire when it was written.

For clients that a test itself starts: it keeps no count of the client's windows, and reads headers only in so far as a
client leaves them as they are when it is told that there is no table of them.
"""

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Callable

DATA, HEADERS, RESET, SETTINGS, PING, WINDOW = 0, 1, 3, 4, 6, 8
END_STREAM = ACK = 1
END_HEADERS = 4
PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
HEADER_TABLE_SIZE = 1
_FRAME = struct.Struct(">HBBBL")
"""Length (of which the first byte is the third), type, flags, stream"""
_MESSAGE = struct.Struct(">BL")
_METHOD = re.compile(rb"/inference\.GRPCInferenceService/(\w+)")


def _literal(name: str, value: str) -> bytes:
    """A header as it is (RFC 7541, 6.2.2)."""
    return b"\0" + b"".join(bytes([len(word)]) + word.encode() for word in (name, value))


ANSWERED = b"\x88" + _literal("content-type", "application/grpc")
"""Status 200, by its number among the headers that everybody knows"""
DONE = _literal("grpc-status", "0")

Answer = Callable[[str, bytes], AsyncIterator[bytes]]
"""The messages that answer a method and its one message; each is written as soon as it comes"""


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


def message(serialized: bytes) -> bytes:
    return _MESSAGE.pack(0, len(serialized)) + serialized


class GrpcFrames(asyncio.Protocol):
    """One connection."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._unread = bytearray()
        self._skip = PREFACE
        self._streams: dict[int, tuple[str, bytearray]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(frame(SETTINGS, 0, 0, struct.pack(">HL", HEADER_TABLE_SIZE, 0)))

    def connection_lost(self, _: Exception | None) -> None:
        for task in self._tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if self._skip:
            if len(self._unread) < self._skip:
                return
            del self._unread[: self._skip]
            self._skip = 0
        while len(self._unread) >= _FRAME.size:
            high, low, kind, flags, stream = _FRAME.unpack_from(self._unread)
            end = _FRAME.size + (high << 8 | low)
            if len(self._unread) < end:
                return
            payload = bytes(self._unread[_FRAME.size : end])
            del self._unread[:end]
            self._frame(kind, flags, stream, payload)

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == HEADERS:
            method = _METHOD.search(payload)
            assert method, payload
            self._streams[stream] = (method[1].decode(), bytearray())
        elif kind == DATA:
            self._streams[stream][1].extend(payload)
            if payload:
                self._transport.write(frame(WINDOW, 0, 0, struct.pack(">L", len(payload))))
        elif kind == RESET and stream in self._tasks:
            self._tasks.pop(stream).cancel()
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            method_name, body = self._streams.pop(stream)
            task = asyncio.ensure_future(self._reply(stream, method_name, bytes(body[_MESSAGE.size :])))
            self._tasks[stream] = task

    async def _reply(self, stream: int, method: str, request: bytes) -> None:
        head = frame(HEADERS, END_HEADERS, stream, ANSWERED)
        async for serialized in self._answer(method, request):
            self._transport.write(head + frame(DATA, 0, stream, message(serialized)))
            head = b""
        self._transport.write(head + frame(HEADERS, END_HEADERS | END_STREAM, stream, DONE))
        self._tasks.pop(stream, None)


async def serve_frames(answer: Answer) -> tuple[asyncio.Server, int]:
    """On a free port of this machine alone."""
    server = await asyncio.get_running_loop().create_server(lambda: GrpcFrames(answer), "127.0.0.1", 0, backlog=256)
    return server, int(server.sockets[0].getsockname()[1])
