"""HTTP to one server, over connections that are kept for a moment, with a sentence for each way that it can fail."""

import asyncio
import json
import time
from typing import Any

from engine.errors import Refused
from engine.inference.channel import PromptFailed
from engine.inference.event_stream import EventStream
from engine.inference.prompt import Fault, PromptRequest
from engine.inference.sse import error_message, excerpt, parse_object
from engine.inference.unfit import Unfit
from engine.secrets import resolve_secrets
from engine.text import mask_secrets
from engine.wire.address import address_of
from engine.wire.connect import connect
from engine.wire.connection import Connection
from engine.wire.failure import Failure, UnansweredError
from engine.wire.fetch import Answer, fetch

MAX_BODY = 4 << 20
"""Bytes of an answer that is no stream"""
KEPT_S = 3.0
"""That a connection is kept without a use: vLLM's server closes it after 5 s, and who is told to stop waits for it"""
_REDIRECTS = range(300, 400)


class HttpConnection:
    """Talks to one server only: follows no redirect and asks no proxy. Raises `PromptFailed`.

    Requests may go on at once; each has a connection to itself. `request` gives the limits of time where a call gives
    none. `api_key`: reference to the key that every request carries, resolved at the first one.
    """

    def __init__(self, base: str, request: PromptRequest, api_key: str | None = None) -> None:
        self.base = base.rstrip("/")
        self.connected_s: float | None = None
        """That opening the last connection took"""
        self.lag_s = 0.0
        """As `Connection.lag_s`, of all that were used"""
        self._request = request
        self._reference = api_key
        self._key: str | None = None
        self._idle: list[tuple[Connection, asyncio.TimerHandle]] = []

    async def close(self) -> None:
        for connection, timer in self._idle:
            timer.cancel()
            connection.close()
        self._idle.clear()

    async def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, limits: PromptRequest | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a request that is answered in one piece."""
        answer = await self.exchange(method, path, body, limits)
        return answer.status, answer.body

    async def exchange(
        self, method: str, path: str, body: dict[str, Any] | None = None, limits: PromptRequest | None = None
    ) -> Answer:
        """As `call`, with its times."""
        limits = limits or self._request
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
                    what = f"The server answered {path} with more than {MAX_BODY >> 20} MiB."
                    raise PromptFailed(what) from error
                raise self._failure(error, limits, begun=error.failure is Failure.UNFINISHED) from error
            self._keep(connection)
            self._refuse_redirect(answer.status, answer.headers)
            return answer

    async def get_object(self, path: str, limits: PromptRequest | None = None) -> dict[str, Any]:
        """The JSON object at `path`."""
        return parse_object(await self.expect(*await self.call("GET", path, limits=limits)))

    async def expect(self, status: int, body: bytes) -> bytes:
        """The body of a good answer. Raises `PromptFailed` with the server's word for others."""
        if status == 200:
            return body
        raise PromptFailed(f"{self.base} refused (HTTP {status}): {self.reason(body)}", fault=Fault.REFUSED)

    def reason(self, body: bytes) -> str:
        """The server's word in the body of an error, without the keys that some servers repeat there."""
        word = mask_secrets(error_message(body))
        return word.replace(self._key, "***") if self._key else word

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
                raise self._failure(error, limits, begun=stream.begun) from error
            finally:
                self.lag_s = max(self.lag_s, connection.lag_s)
            self._keep(connection)
            self._refuse_redirect(stream.status, stream.headers)
            return

    async def _taken(self, limits: PromptRequest) -> tuple[Connection, float | None]:
        """A connection, and how long it took to open it, if it was not open."""
        while self._idle:
            connection, timer = self._idle.pop()
            timer.cancel()
            if connection.is_open():
                return connection, None
        began = time.perf_counter()
        try:
            address = address_of(self.base)
            sock = await connect(address.host, address.port, limits.connect_timeout_s)
        except UnansweredError as error:
            raise self._failure(error, limits, begun=False) from error
        self.connected_s = time.perf_counter() - began
        return Connection(sock, stamped=True), self.connected_s

    def _keep(self, connection: Connection) -> None:
        if connection.reusable:
            timer = asyncio.get_running_loop().call_later(KEPT_S, connection.close)
            self._idle = [kept for kept in self._idle if kept[0].reusable]
            self._idle.append((connection, timer))

    async def _request_of(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        if self._key is None:
            self._key = await self._resolved()
        try:
            address = address_of(self.base + path)
        except UnansweredError as error:
            raise self._failure(error, self._request, begun=False) from error
        content = b"" if body is None else json.dumps(body).encode()
        lines = [
            f"{method} {address.target} HTTP/1.1",
            f"Host: {address.authority}",
            # the first token must not wait in a compressor, and no small answer may unfold to a huge one
            "Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: tritontui",
        ]
        if self._key:
            lines.append(f"Authorization: Bearer {self._key}")
        if body is not None:
            lines.append("Content-Type: application/json")
        if body is not None or method != "GET":
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join((*lines, "", "")).encode("ascii") + content

    async def _resolved(self) -> str:
        if not self._reference:
            return ""
        try:
            key = (await asyncio.to_thread(resolve_secrets, {"API key": self._reference}))["API key"]
        except Refused as error:
            raise Unfit(error.what, error.remedy) from error
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise Unfit(
                f"The API key for {self.base} has characters that no HTTP header can carry.",
                "Check where it comes from, also for blanks and line breaks.",
            )
        return key

    def _refuse_redirect(self, status: int, headers: dict[bytes, bytes]) -> None:
        if status in _REDIRECTS and b"location" in headers:
            target = excerpt(headers[b"location"], 200)
            raise PromptFailed(
                f"{self.base} redirects to {target!r}, which is not followed.",
                "Give the server's own address as the endpoint.",
                Fault.REFUSED,
            )

    def _failure(self, error: UnansweredError, limits: PromptRequest, *, begun: bool) -> PromptFailed:
        said = excerpt(str(error)).rstrip(".")
        match error.failure:
            case Failure.NO_URL:
                why = f": {said}" if said else ""
                return PromptFailed(f"{excerpt(self.base)!r} is no http address of a server{why}.", fault=Fault.UNFIT)
            case Failure.NOT_FOUND | Failure.NOT_ACCEPTED:
                return PromptFailed(
                    f"{self.base} did not accept a connection within {limits.connect_timeout_s:g} s.",
                    "Check the address, and whether a firewall drops packets to it.",
                    Fault.CONNECTION,
                )
            case Failure.REFUSED | Failure.UNREACHABLE:
                return PromptFailed(
                    f"Cannot connect to {self.base}: {said}.",
                    "Start the deployment, or wait for it: a server opens its port only when its models are loaded.",
                    Fault.CONNECTION,
                )
            case Failure.SILENT | Failure.UNFINISHED:
                how = (
                    "began to answer and did not finish within"
                    if begun
                    else "accepted the connection and sent nothing for"
                )
                return PromptFailed(f"{self.base} {how} {limits.idle_timeout_s:g} s.", fault=Fault.IDLE)
            case Failure.NO_HTTP:
                if begun:
                    return PromptFailed(f"{self.base} began to answer and went on with what is no HTTP: {said}.")
                return PromptFailed(f"{self.base} does not speak HTTP: {said}.", "Check the port.")
            case Failure.CUT:
                middle, none = (
                    "cut the connection in the middle of its answer",
                    "closed the connection without an answer",
                )
                return PromptFailed(f"{self.base} {middle if begun else none}.", "Its log says why.", Fault.CUT)
            case Failure.TOO_LARGE | Failure.PIECEMEAL:
                return PromptFailed(f"{self.base} sent more before its answer than is read.", "Check the port.")
