"""The answer to one prompt as server-sent events: cut and read as they arrive, on the event loop."""

import asyncio
from collections.abc import Callable

from engine.inference.channel import PromptFailed
from engine.inference.measured import Measured
from engine.inference.sse import EventReader
from engine.wire.connection import Connection, Head
from engine.wire.failure import UnansweredError

MAX_REFUSAL = 1 << 16
"""Bytes that are read of an answer with another status than 200"""
END_S = 0.05
"""That the end of the body is waited for after the answer's own end mark; without it, no other prompt can follow"""


class EventStream:
    """Follows one answer. Its timer alone knows how long nothing came, and is moved only when it goes off.

    `on_event` is given each event and when it arrived; True from it is the answer's own end mark. Raises of it
    (`PromptFailed`) end the prompt.
    """

    def __init__(self, measured: Measured, on_event: Callable[[bytes, float], bool], where: str) -> None:
        self.measured = measured
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.refusal = b""
        """The body of an answer with another status than 200"""
        self.finished = False
        """It came to its end mark"""
        self._on_event = on_event
        self._where = where
        self._idle_s = measured.request.idle_timeout_s
        self._events = EventReader()
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0
        """When something came last, on the clock of the event loop"""

    @property
    def begun(self) -> bool:
        return self.status != 0

    async def follow(self, connection: Connection, request: bytes) -> None:
        """Until the answer has ended. Raises `PromptFailed` and `UnansweredError`; then the connection is closed."""
        self._connection = connection
        self._over = self._loop.create_future()
        self._last = self._loop.time()
        self._timer = self._loop.call_at(self._last + self._idle_s, self._look)
        try:
            self.measured.sent(connection.send(request, self, piecemeal=True))
            await self._over
        except BaseException:
            connection.close()
            raise
        finally:
            self._timer.cancel()

    def head(self, head: Head, at: float) -> None:
        self.status, self.headers = head.status, head.headers
        self._last = self._loop.time()
        if head.status == 200:
            self.measured.began(at)

    def block(self, data: bytes, at: float) -> None:
        if self.status != 200:
            self.refusal += data
            if len(self.refusal) > MAX_REFUSAL:
                self._close()
            return
        if self.finished:
            return
        try:
            for event in self._events.feed(data):
                self._last = self._loop.time()
                if self._on_event(event, at):
                    self._mark(at)
                    return
        except PromptFailed as failure:
            self._fail(failure)

    def end(self, at: float) -> None:
        try:
            for event in () if self.finished else self._events.end():
                if self._on_event(event, at):
                    self._mark(at)
                    break
        except PromptFailed as failure:
            self._fail(failure)
            return
        if self.status == 200:
            self.measured.ended(at)
        if not self._over.done():
            self._over.set_result(None)

    def failed(self, error: UnansweredError, _: float) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    def _mark(self, at: float) -> None:
        self.finished = True
        self.measured.ended(at)
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(END_S, self._close)

    def _look(self) -> None:
        """Whether nothing has come for too long; otherwise the timer is set to when that could be next."""
        due = self._last + self._idle_s
        if self._loop.time() >= due:
            self._fail(self.measured.silent(self._where))
        else:
            self._timer = self._loop.call_at(due, self._look)

    def _close(self) -> None:
        """Enough was read: the prompt has ended, and its connection with it."""
        if self._connection:
            self._connection.close()
        if not self._over.done():
            self._over.set_result(None)

    def _fail(self, failure: PromptFailed) -> None:
        if self._connection:
            self._connection.close()
        if not self._over.done():
            self._over.set_exception(failure)
