"""HTTP to one server, over connections that are kept for a moment, with a sentence for each way that it can fail."""

import asyncio
import json
import time
from typing import Any

from engine.inference.event_stream import EventStream
from engine.inference.prompt import PromptRequest
from engine.inference.server import MAX_BODY, Server
from engine.inference.sse import parse_object
from engine.wire.connect import connect
from engine.wire.connection import Connection
from engine.wire.failure import Failure, UnansweredError
from engine.wire.fetch import Answer, fetch

KEPT_S = 3.0
"""That a connection is kept without a use: vLLM's server closes it after 5 s, and who is told to stop waits for it"""


class HttpConnection:
    """Talks to one server only: follows no redirect and asks no proxy. Raises `PromptFailed`.

    Requests may go on at once; each has a connection to itself. `limits` are those of time. `api_key`: reference to
    the key that every request carries, resolved at the first one.
    """

    def __init__(self, base: str, api_key: str | None = None) -> None:
        self.server = Server(base, api_key)
        self.base = self.server.base
        self.connected_s: float | None = None
        """That opening the last connection took"""
        self.lag_s = 0.0
        """As `Connection.lag_s`, of all that were used"""
        self._idle: list[tuple[Connection, asyncio.TimerHandle]] = []

    async def close(self) -> None:
        for connection, timer in self._idle:
            timer.cancel()
            connection.close()
        self._idle.clear()

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None, limits: PromptRequest
    ) -> tuple[int, bytes]:
        """Status and body of a request that is answered in one piece."""
        answer = await self.exchange(method, path, body, limits)
        return answer.status, answer.body

    async def exchange(self, method: str, path: str, body: dict[str, Any] | None, limits: PromptRequest) -> Answer:
        """As `call`, with its times."""
        request = await self._request_of(method, path, body)
        while True:
            connection, opened_s = await self._taken(limits)
            deadline = asyncio.get_running_loop().time() + limits.idle_timeout_s
            try:
                answer = await fetch(connection, request, deadline=deadline, most_bytes=MAX_BODY)
            except UnansweredError as error:
                if error.untaken and opened_s is None:
                    continue  # it was closed while nobody used it
                if error.failure is Failure.TOO_LARGE:
                    raise self.server.too_large(path) from error
                raise self.server.failure(error, limits, begun=error.failure is Failure.UNFINISHED) from error
            self._keep(connection)
            self.server.refuse_redirect(answer.status, answer.headers)
            return answer

    async def get_object(self, path: str, limits: PromptRequest) -> dict[str, Any]:
        """The JSON object at `path`."""
        return parse_object(self.server.expect(*await self.call("GET", path, None, limits)))

    async def stream(self, path: str, body: dict[str, Any], stream: EventStream, limits: PromptRequest) -> None:
        """Sends what is answered by a stream of events, and returns when that has ended."""
        request = await self._request_of("POST", path, body)
        while True:
            connection, opened_s = await self._taken(limits)
            if opened_s is not None:
                stream.measured.connected_s = opened_s
            try:
                await stream.follow(connection, request)
            except UnansweredError as error:
                if error.untaken and opened_s is None:
                    continue
                if error.failure is Failure.CUT:
                    raise stream.measured.cut(self.base) from error
                raise self.server.failure(error, limits, begun=stream.begun) from error
            finally:
                self.lag_s = max(self.lag_s, connection.lag_s)
            self._keep(connection)
            self.server.refuse_redirect(stream.status, stream.headers)
            return

    async def _taken(self, limits: PromptRequest) -> tuple[Connection, float | None]:
        """A connection, and how long it took to open it, if it was not open."""
        while self._idle:
            connection, timer = self._idle.pop()
            timer.cancel()
            if connection.is_open():
                return connection, None
        address, began = self.server.address(), time.perf_counter()
        try:
            sock = await connect(address.host, address.port, limits.connect_timeout_s)
        except UnansweredError as error:
            raise self.server.failure(error, limits, begun=False) from error
        self.connected_s = time.perf_counter() - began
        return Connection(sock, stamped=True), self.connected_s

    def _keep(self, connection: Connection) -> None:
        if connection.reusable:
            timer = asyncio.get_running_loop().call_later(KEPT_S, connection.close)
            self._idle = [kept for kept in self._idle if kept[0].reusable]
            self._idle.append((connection, timer))

    async def _request_of(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        key, address = await self.server.key(), self.server.address(path)
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {address.target} HTTP/1.1",
            f"Host: {address.authority}",
            # the first token must not wait in a compressor, and no small answer may unfold to a huge one
            "Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: tritontui",
        ]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if body is not None:
            lines.append("Content-Type: application/json")
        if body is not None or method != "GET":
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join((*lines, "", "")).encode("ascii") + content
