"""An answer of Docker that goes on: raw blocks from its socket, a deadline for each read, and a close from any thread.

docker-py's own streams hand out one line at a time and cannot wait with a deadline; a follow of a busy log needs both.
"""

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

BLOCK_BYTES = 1 << 18
LONGEST_CHUNK_HEADER = 1024


class StreamBrokenError(Exception):
    """The connection ended in the middle of the answer."""


class DockerStream:
    """Takes the socket out of a response that was asked for with `stream=True`."""

    def __init__(self, response: "requests.Response") -> None:
        self._response = response
        self._closed = threading.Event()
        self._chunks = ChunkDecoder() if response.raw.headers.get("Transfer-Encoding") == "chunked" else None
        # No public way leads to the socket; docker-py's own CancellableStream goes the same way.
        buffered: Any = response.raw._fp.fp  # type: ignore[union-attr]  # noqa: SLF001
        self._socket: socket.socket = buffered.raw._sock  # noqa: SLF001
        # What came together with the headers lies in that buffer; a non-blocking peek never waits for more.
        self._socket.settimeout(0.0)
        self._first = b""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            self._first = bytes(buffered.peek())

    def read(self, timeout_s: float) -> bytes | None:
        """More of the body; empty when nothing came within the time; None at its end or once closed.

        Raises `StreamBrokenError` when the connection ends before the body does.
        """
        if self._closed.is_set() or (self._chunks and self._chunks.ended):
            return None
        block, self._first = self._first, b""
        if not block:
            try:
                if self._socket.gettimeout() != timeout_s:
                    self._socket.settimeout(timeout_s)
                block = self._socket.recv(BLOCK_BYTES)
            except TimeoutError:
                return b""
            except OSError as error:
                if self._closed.is_set():
                    return None
                raise StreamBrokenError(str(error)) from error
            if not block:
                if self._closed.is_set() or self._chunks is None:
                    return None
                raise StreamBrokenError("the connection was closed")
        return self._chunks.feed(block) if self._chunks else block

    def wait_closed(self, timeout_s: float) -> bool:
        """Whether `close` was called, at once or within the time."""
        return self._closed.wait(timeout_s)

    def close(self) -> None:
        self._closed.set()
        # Closing alone does not wake a thread that waits in recv.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._response.close()


class ChunkDecoder:
    """HTTP's chunked coding, fed with blocks. Docker sends one chunk a log line: this is on the path of every line."""

    def __init__(self) -> None:
        self.ended = False
        self._rest = b""

    def feed(self, block: bytes) -> bytes:
        """The bodies of the chunks that are complete. Raises `StreamBrokenError` for what is no chunked coding."""
        data = self._rest + block if self._rest else block
        bodies: list[bytes] = []
        position = 0
        while (line_end := data.find(b"\r\n", position)) >= 0:
            try:
                size = int(data[position:line_end].partition(b";")[0], 16)
            except ValueError:
                size = -1
            if size < 0:
                raise StreamBrokenError("the answer is no HTTP chunk")
            if size == 0:
                self.ended = True
                break
            begin = line_end + 2
            end = begin + size
            if end + 2 > len(data):
                break
            bodies.append(data[begin:end])
            position = end + 2
        else:
            if len(data) - position > LONGEST_CHUNK_HEADER:
                raise StreamBrokenError("the answer is no HTTP chunk")
        self._rest = data[position:]
        return b"".join(bodies)
