"""One open connection: a request goes out, and its answer is told piece by piece as it arrives."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import termios
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from engine.wire.failure import Failure, UnansweredError

READ_BYTES = 1 << 16
HEAD_BYTES = 1 << 16
PIECES = 1000
"""An answer may come in so many pieces, and one more for each `PIECE_BYTES` of it"""
PIECE_BYTES = 1 << 10

_SO_TIMESTAMPNS = 35
"""Linux, asm-generic/socket.h: the system tells when the last segment of what is read arrived (since 4.18 for TCP)"""
_STAMP = struct.Struct("qq")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_STAMP.size)
_LATEST_S = 10.0
"""A stamp that is older than this, or lies ahead, means that the system's clock was set"""


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before the body. Names of headers are in lower case; of those that repeat, the last one."""

    status: int
    headers: dict[bytes, bytes]


class Receiver(Protocol):
    """Told of one answer, on the event loop: one `head`, any number of `block`, and last `end` or `failed`.

    Nothing more comes after `Connection.close`. `at`: when it arrived, on the clock of `time.perf_counter`.
    """

    def head(self, head: Head, at: float) -> None: ...

    def block(self, data: bytes, at: float) -> None: ...

    def end(self, at: float) -> None: ...

    def failed(self, error: UnansweredError, at: float) -> None: ...


class Connection:
    """Takes one request after the other while `reusable`, and reads nothing ahead of it. Belongs to one event loop.

    `stamped`: times of arrival are the system's own, however late this process comes to read: they are what a client
    measures by. Without, they are those of reading.
    """

    def __init__(self, sock: socket.socket, *, stamped: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._closed = False
        self._answer: _Answer | None = None
        self._unsent = memoryview(b"")
        self._sent = 0
        """Bytes of the request that the system has taken"""
        self._read = self._read_plainly
        self.reusable = True
        """False as soon as the server, or what came of it, has ended it"""
        self.lag_s = 0.0
        """The longest time that something had arrived before it was read, of those that are `stamped`"""
        if stamped:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):  # a system without them
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                self._read = self._read_stamped
        self._loop.add_reader(sock.fileno(), self._readable)  # of a socket, asyncio writes a description each time

    def send(self, request: bytes, receiver: Receiver, *, piecemeal: bool = False) -> float:
        """When it was sent, on the clock of `time.perf_counter`. Failures are told to the receiver.

        `piecemeal`: of a stream it is expected that it comes in small pieces.
        """
        self._answer = _Answer(receiver, piecemeal=piecemeal)
        self._sent = 0
        at = time.perf_counter()
        self._write(memoryview(request))
        return at

    def is_open(self) -> bool:
        """Whether it is `reusable` and nothing has come since the last answer, not even its end; else it is closed.

        What came without being asked for would be taken for the answer to the next request.
        """
        if self.reusable:
            try:
                self._sock.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                pass  # it was reset
        self.close()
        return False

    def close(self) -> None:
        """Also in the middle of an answer, by which the server learns that nobody waits for it."""
        self.reusable = False
        self._answer = None
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock.fileno())
            if self._unsent:
                self._loop.remove_writer(self._sock.fileno())
            self._sock.close()

    def _write(self, data: memoryview) -> None:
        waited = bool(self._unsent)
        try:
            sent = self._sock.send(data)
            self._sent += sent
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            sent = len(data)  # what it has still said is read, and then how it ended
        self._unsent = data[sent:]
        if self._unsent and not waited:
            self._loop.add_writer(self._sock.fileno(), self._writable)
        elif waited and not self._unsent:
            self._loop.remove_writer(self._sock.fileno())

    def _writable(self) -> None:
        self._write(self._unsent)

    def _readable(self) -> None:
        try:
            data, at = self._read()
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            untaken = self._unanswered and not self._sent
            self._fail(UnansweredError(Failure.CUT, error.strerror or str(error), untaken=untaken), time.perf_counter())
            return
        answer = self._answer
        if answer is None:  # it ends, or speaks without being asked
            self.close()
        elif not data:
            self._ended(answer, at)
        else:
            self._feed(answer, data, at)

    def _read_plainly(self) -> tuple[bytes, float]:
        return self._sock.recv(READ_BYTES), time.perf_counter()

    def _read_stamped(self) -> tuple[bytes, float]:
        data, ancillary, _, _ = self._sock.recvmsg(READ_BYTES, _ANCILLARY_BYTES)
        now, clock = time.perf_counter(), time.time_ns()
        if not ancillary:
            return data, now
        seconds, nanoseconds = _STAMP.unpack_from(ancillary[0][2])
        lag_s = (clock - seconds * 1_000_000_000 - nanoseconds) / 1e9
        if not 0 <= lag_s < _LATEST_S:
            return data, now
        if lag_s > self.lag_s:
            self.lag_s = lag_s
        return data, now - lag_s

    def _feed(self, answer: "_Answer", data: bytes, at: float) -> None:
        head, body, failure = answer.feed(data)
        if head:
            answer.receiver.head(head, at)
        if body and self._answer is answer:  # the receiver may close it at any time
            answer.receiver.block(body, at)
        if self._answer is not answer:
            return
        if failure:
            self._fail(failure, at)
        elif answer.done:
            self._answer = None
            if not answer.keeps or self._unsent:
                self.close()
            answer.receiver.end(at)

    def _ended(self, answer: "_Answer", at: float) -> None:
        if answer.until_closed:
            self.close()
            answer.receiver.end(at)
        else:
            # The end acknowledges what was received before it, which a reset does not. A POST may be repeated only when
            # it is known that nobody has it (RFC 9110, 9.2.2).
            untaken = self._unanswered and self._unacknowledged() >= self._sent
            self._fail(UnansweredError(Failure.CUT, untaken=untaken), at)

    @property
    def _unanswered(self) -> bool:
        return self._answer is not None and not self._answer.begun

    def _unacknowledged(self) -> int:
        """Bytes of which the other end's system has not said that it received them (tcp(7), SIOCOUTQ)."""
        with contextlib.suppress(OSError):
            return int.from_bytes(fcntl.ioctl(self._sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return -1

    def _fail(self, error: UnansweredError, at: float) -> None:
        answer = self._answer
        self.close()
        if answer:
            answer.receiver.failed(error, at)


class _Answer:
    """One answer, as the parser finds it. The methods `on_…` are the parser's to call (httptools)."""

    def __init__(self, receiver: Receiver, *, piecemeal: bool) -> None:
        self.receiver = receiver
        self.done = self.keeps = False
        self._piecemeal = piecemeal
        self._head: Head | None = None
        self._headers: dict[bytes, bytes] = {}
        self._blocks: list[bytes] = []
        self._bytes = self._pieces = self._last = 0
        self.on_body = self._blocks.append
        self._parser = HttpResponseParser(self)

    @property
    def begun(self) -> bool:
        """Whether a byte of it has come."""
        return self._bytes > 0

    @property
    def until_closed(self) -> bool:
        """Whether nothing else than the end of the connection ends the body."""
        if self._head is None:
            return False
        headers = self._head.headers
        return b"content-length" not in headers and not headers.get(b"transfer-encoding", b"").endswith(b"chunked")

    def feed(self, data: bytes) -> tuple[Head | None, bytes, UnansweredError | None]:
        """The head if it has become known, what came of the body, and why there will be no more."""
        began, failure = self._head is None, None
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            failure = UnansweredError(Failure.NO_HTTP, "it changes to another protocol")
        except HttpParserError as error:
            if self.done:  # more than one answer
                self.keeps = False
            else:
                failure = UnansweredError(Failure.NO_HTTP, str(error))
        self._bytes += len(data)
        blocks = self._blocks
        if self.done:
            del blocks[self._last :]  # of another answer that nobody asked for
        self._pieces += len(blocks)
        body = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        blocks.clear()
        if not self._piecemeal and self._pieces > PIECES + self._bytes // PIECE_BYTES:
            failure = UnansweredError(Failure.PIECEMEAL)
        elif self._head is None and not failure and self._bytes > HEAD_BYTES:
            failure = UnansweredError(Failure.TOO_LARGE)
        return self._head if began else None, body, failure

    def on_message_begin(self) -> None:
        self._pieces += 1
        self._headers = {}
        if self.done:
            self.keeps = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= HTTPStatus.OK and not self._head:  # lower ones only inform
            self._head = Head(status, self._headers)

    def on_message_complete(self) -> None:
        if self._head and not self.done:
            self.done = True
            self._last = len(self._blocks)
            self.keeps = self._parser.should_keep_alive()
