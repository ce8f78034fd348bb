"""One HTTP request to a server of this machine, as often as once a second, at the least cost.

h11 over asyncio's streams takes two thirds of the processor time of httpx, which is built on it too
(`python -m benchmarks.targets`). No connection is kept: a server that is told to stop waits for its connections to be
closed, Triton for up to 30 s, and who only watches must not be what it waits for.
"""

import asyncio
import contextlib
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import SplitResult, urlsplit

import h11

from engine.observe.names import addresses

BLOCK_BYTES = 1 << 16
PIECES = 1000
"""An answer may come in so many pieces, and one more for each `PIECE_BYTES` of it"""
PIECE_BYTES = 1 << 10
HTTP_PORT = 80


class Failure(Enum):
    """Why there is no answer."""

    NO_URL = auto()
    """It is no http URL"""
    UNREACHABLE = auto()
    REFUSED = auto()
    """Nothing listens there"""
    NOT_FOUND = auto()
    """The name service did not answer in time"""
    NOT_ACCEPTED = auto()
    """The connection was not taken in time"""
    SILENT = auto()
    """The connection was taken, and nothing came in time"""
    UNFINISHED = auto()
    """An answer began and did not end in time"""
    BROKEN = auto()
    """What came was no HTTP, or it broke off"""
    TOO_LARGE = auto()
    PIECEMEAL = auto()
    """It came in so many pieces that to put them together would keep everything else waiting"""


class UnansweredError(Exception):
    """`str()` is what was said of it, if anything, as it came."""

    def __init__(self, failure: Failure, said: str = "") -> None:
        super().__init__(said)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


async def get(url: str, *, deadline_s: float, connect_s: float | None = None, most_bytes: int = 0) -> Answer:
    """`deadline_s`: for all of it. `most_bytes`: of the body; 0 leaves it unread. Raises `UnansweredError`."""
    where = _split(url)
    exchange = _Exchange(where)
    request = exchange.request()
    stage = Failure.NOT_FOUND
    try:
        async with asyncio.timeout(deadline_s):
            async with asyncio.timeout(connect_s):
                hosts = await addresses(where.hostname or "")
                stage = Failure.NOT_ACCEPTED
                reader, writer = await _connect(hosts, where.port or HTTP_PORT)
            stage = Failure.SILENT
            try:
                writer.write(request)
                status = await exchange.status(reader)
                stage = Failure.UNFINISHED
                return Answer(status, await exchange.body(reader, most_bytes) if most_bytes else b"")
            finally:
                writer.close()
    except TimeoutError:
        raise UnansweredError(stage) from None
    except UnicodeError as error:  # a host name that cannot be one
        raise UnansweredError(Failure.NO_URL, str(error)) from error
    except OSError as error:
        if stage not in (Failure.NOT_FOUND, Failure.NOT_ACCEPTED):
            raise UnansweredError(Failure.BROKEN, error.strerror or str(error)) from error
        refused = error.errno == errno.ECONNREFUSED
        raise UnansweredError(Failure.REFUSED if refused else Failure.UNREACHABLE) from error


def _split(url: str) -> SplitResult:
    try:
        where = urlsplit(url)
        where.port  # noqa: B018 (it is read for its ValueError)
    except ValueError as error:
        raise UnansweredError(Failure.NO_URL, str(error)) from error
    if where.scheme != "http" or not where.hostname:
        raise UnansweredError(Failure.NO_URL)
    return where


async def _connect(hosts: Sequence[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes it. Raises the last one's OSError."""
    for host in hosts[:-1]:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(host, port, limit=BLOCK_BYTES)
    return await asyncio.open_connection(hosts[-1], port, limit=BLOCK_BYTES)


class _Exchange:
    def __init__(self, where: SplitResult) -> None:
        self._where = where
        self._connection = h11.Connection(h11.CLIENT)
        self._pieces = 0
        self._received = 0

    def request(self) -> bytes:
        where = self._where
        headers = [
            ("Host", where.netloc.rpartition("@")[2]),
            ("Accept", "text/plain;version=0.0.4, */*;q=0.1"),
            ("Accept-Encoding", "identity"),  # a small compressed answer may unfold to a huge one
            ("Connection", "close"),
        ]
        target = (where.path or "/") + (f"?{where.query}" if where.query else "")
        try:
            head = self._connection.send(h11.Request(method="GET", target=target, headers=headers))
        except (h11.LocalProtocolError, UnicodeError) as error:
            raise UnansweredError(Failure.NO_URL, str(error)) from error
        return (head or b"") + (self._connection.send(h11.EndOfMessage()) or b"")

    async def status(self, reader: asyncio.StreamReader) -> int:
        while not isinstance(event := await self._next(reader), h11.Response):
            pass  # what only informs
        return event.status_code

    async def body(self, reader: asyncio.StreamReader, most_bytes: int) -> bytes:
        body = bytearray()
        while isinstance(event := await self._next(reader), h11.Data):
            body += event.data
            self._received = len(body)
            if self._received > most_bytes:
                raise UnansweredError(Failure.TOO_LARGE)
        return bytes(body)

    async def _next(self, reader: asyncio.StreamReader) -> h11.Event:
        connection = self._connection
        while True:
            try:
                event = connection.next_event()
                if isinstance(event, h11.ConnectionClosed):
                    raise UnansweredError(Failure.BROKEN)
                if isinstance(event, h11.Event):
                    self._pieces += 1
                    if self._pieces > PIECES + self._received // PIECE_BYTES:
                        raise UnansweredError(Failure.PIECEMEAL)
                    return event
                data = await reader.read(BLOCK_BYTES)
                if not data and connection.their_state is h11.SEND_RESPONSE:
                    raise UnansweredError(Failure.BROKEN)
                connection.receive_data(data)
            except h11.RemoteProtocolError as error:
                raise UnansweredError(Failure.BROKEN, str(error)) from error
