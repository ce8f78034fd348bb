"""The answer to one prompt as server-sent events: cut and read as they arrive, on the event loop."""

import asyncio
from collections.abc import Callable

from engine.inference.channel import PromptFailed
from engine.inference.measured import Measured
from engine.inference.sse import EventReader, excerpt, no_events
from engine.wire.connection import Connection, Head
from engine.wire.failure import UnansweredError

MAX_REFUSAL = 1 << 16
"""Bytes that are read of an answer that is no stream"""
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
        """The body of an answer that is no stream, as one with another status than 200"""
        self.finished = False
        """It came to its end mark"""
        self._on_event = on_event
        self._where = where
        self._idle_s = measured.request.idle_timeout_s
        self._events = EventReader()
        self._messages = 0
        self._other_type = b""
        """The content type of an answer that does not say that it is a stream"""
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
        if head.status != 200:
            return
        self.measured.began(at)
        encoding = head.headers.get(b"content-encoding", b"identity")
        if encoding.lower() != b"identity":
            what = f"{self._where} answered in {excerpt(encoding, 40)}, which was not asked for."
            self._fail(PromptFailed(what, "A proxy before it may do that: give the server's own address."))
        content_type = head.headers.get(b"content-type", b"").lower()
        if b"json" in content_type or b"html" in content_type:
            self._other_type = content_type.partition(b";")[0]

    def block(self, data: bytes, at: float) -> None:
        if self.status != 200 or self._other_type:
            self.refusal += data
            if len(self.refusal) > MAX_REFUSAL:
                self._end_other()
            return
        if self.finished:
            return
        try:
            for event in self._events.feed(data):
                self._last = self._loop.time()
                self._messages += 1
                if self._on_event(event, at):
                    self._mark(at)
                    return
            self.measured.check(self._messages, self._where)
        except PromptFailed as failure:
            self._fail(failure)

    def end(self, at: float) -> None:
        if self._other_type:
            self._end_other()
            return
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
        if self._over.done():
            return
        if self.finished or self.status not in (0, 200):  # all that matters has come
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    def _end_other(self) -> None:
        if self._other_type:
            self._fail(no_events(self.refusal, self._other_type))
        else:
            self._close()

    def _mark(self, at: float) -> None:
        self.finished = True
        self.measured.ended(at)
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(END_S, self._close)

    def _look(self) -> None:
        """Whether nothing has come for too long; otherwise the timer is set to when that could be next."""
        due = self._last + self._idle_s
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
        elif self.status not in (0, 200):
            self._close()  # without the rest of the reason
        else:
            self._fail(self.measured.silent(self._where))

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
