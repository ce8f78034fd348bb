"""One request that is answered in one piece."""

import asyncio
from dataclasses import dataclass

from engine.wire.connection import Connection, Head
from engine.wire.failure import Failure, UnansweredError


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[bytes, bytes]
    """By their names in lower case"""
    body: bytes
    sent_at: float
    """Times are of the clock of `time.perf_counter`"""
    began_at: float
    ended_at: float


async def fetch(connection: Connection, request: bytes, *, deadline: float, most_bytes: int) -> Answer:
    """`deadline`: on the clock of the event loop. `most_bytes`: of the body; 0 leaves it unread.

    Raises `UnansweredError`. The connection can take another request only after an answer that was read to its end.
    """
    whole = _Whole(connection, most_bytes)
    timer = asyncio.get_running_loop().call_at(deadline, whole.late)
    try:
        whole.sent_at = connection.send(request, whole)
        return await whole.answer
    except BaseException:
        connection.close()
        raise
    finally:
        timer.cancel()


class _Whole:
    """Receives an answer and puts it together."""

    def __init__(self, connection: Connection, most_bytes: int) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._most_bytes = most_bytes
        self.sent_at = self._began_at = 0.0
        self._head: Head | None = None
        self._blocks: list[bytes] = []
        self._bytes = 0

    def head(self, head: Head, at: float) -> None:
        self._head, self._began_at = head, at
        if not self._most_bytes:
            self._connection.close()
            self.end(at)

    def block(self, data: bytes, _: float) -> None:
        self._blocks.append(data)
        self._bytes += len(data)
        if self._bytes > self._most_bytes:
            self._fail(Failure.TOO_LARGE)

    def end(self, at: float) -> None:
        if self._head and not self.answer.done():
            head, body = self._head, b"".join(self._blocks)
            answer = Answer(head.status, head.headers, body, self.sent_at, self._began_at, at)
            self.answer.set_result(answer)

    def failed(self, error: UnansweredError, _: float) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def late(self) -> None:
        self._fail(Failure.UNFINISHED if self._head else Failure.SILENT)

    def _fail(self, failure: Failure) -> None:
        self._connection.close()
        self.failed(UnansweredError(failure), 0.0)
