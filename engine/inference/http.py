"""One HTTP connection to a server, kept open between requests, with a sentence for each way that it can fail."""

import asyncio
import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from engine.errors import Refused
from engine.inference.channel import PromptFailed
from engine.inference.prompt import PromptRequest
from engine.inference.sse import error_message, excerpt, parse_object
from engine.secrets import resolve_secrets
from engine.text import mask_secrets

if TYPE_CHECKING:
    import httpx

MAX_BODY = 4 << 20
"""Bytes of an answer that is no stream"""


class HttpConnection:
    """Talks to one server only: follows no redirect and asks no proxy. Raises `PromptFailed`.

    `api_key`: reference to the key that every request carries, resolved when the connection is opened.
    """

    def __init__(self, base: str, request: PromptRequest, api_key: str | None = None) -> None:
        self.base = base.rstrip("/")
        self.connected_s: float | None = None
        self.sent_at: float | None = None
        """When the head of the streamed request was written, connecting excluded"""
        self._streams = False
        self._connect_began = 0.0
        self._request = request
        self._reference = api_key
        self._key = ""
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        """Status and body of a request that is answered in one piece."""
        async with self._exchange(method, path, body, read_s=self._request.idle_timeout_s) as response:
            return response.status_code, await _read(response)

    async def get_object(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`."""
        return parse_object(await self.expect(*await self.call("GET", path)))

    async def expect(self, status: int, body: bytes) -> bytes:
        """The body of a good answer. Raises `PromptFailed` with the server's word for others."""
        if status == 200:
            return body
        raise PromptFailed(f"{self.base} refused (HTTP {status}): {self.reason(body)}")

    def reason(self, body: bytes) -> str:
        """The server's word in the body of an error, without the keys that some servers repeat there."""
        word = mask_secrets(error_message(body))
        return word.replace(self._key, "***") if self._key else word

    @asynccontextmanager
    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator["tuple[int, AsyncGenerator[bytes, None]]"]:
        """Status and the blocks of the body as they arrive. Waiting for them is the caller's to limit."""
        self._streams, self.sent_at = True, None
        async with self._exchange("POST", path, body, read_s=None) as response:
            yield response.status_code, _blocks(response)

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None, read_s: float | None
    ) -> AsyncIterator["httpx.Response"]:
        import httpx

        begun = False
        request = self._request
        limits = httpx.Timeout(request.idle_timeout_s, connect=request.connect_timeout_s, read=read_s)
        try:
            if self._client is None:
                self._check_address()
                # identity: the first token must not wait in a compressor, and no small answer may unfold to a huge one
                headers = {"accept-encoding": "identity", "user-agent": "tritontui", **await self._authorization()}
                self._client = httpx.AsyncClient(headers=headers, trust_env=False, follow_redirects=False)
            async with self._client.stream(
                method,
                self.base + path,
                content=None if body is None else json.dumps(body).encode(),
                headers={"content-type": "application/json"} if body is not None else {},
                timeout=limits,
                extensions={"trace": self._trace},
            ) as response:
                begun = True
                if response.is_redirect:
                    target = response.headers.get("location", "elsewhere")[:200]
                    raise PromptFailed(
                        f"{self.base} redirects to {target!r}, which is not followed.",
                        "Give the server's own address as the endpoint.",
                    )
                yield response
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._failure(error, begun=begun) from error

    async def _authorization(self) -> dict[str, str]:
        if not self._reference:
            return {}
        try:
            resolved = await asyncio.to_thread(resolve_secrets, {"API key": self._reference})
        except Refused as error:
            raise PromptFailed(error.what, error.remedy) from error
        key = resolved["API key"]
        if not (key.isascii() and key.isprintable()) or " " in key:
            # said here: the HTTP library would quote it
            raise PromptFailed(
                f"The API key for {self.base} has characters that no HTTP header can carry.",
                "Check where it comes from, also for blanks and line breaks.",
            )
        self._key = key
        return {"authorization": f"Bearer {key}"}

    def _check_address(self) -> None:
        """The client lets bad ports through to the operating system, which answers with an OverflowError."""
        try:
            urlsplit(self.base).port  # noqa: B018 (it is computed, and raises)
        except ValueError as error:
            raise PromptFailed(f"{excerpt(self.base)!r} is no address of a server: {error}.") from error

    async def _trace(self, event: str, _info: dict[str, Any]) -> None:
        if self._streams and event.endswith("send_request_headers.started"):
            self.sent_at = time.perf_counter()
        elif event == "connection.connect_tcp.started":
            self._connect_began = time.perf_counter()
        elif event in ("connection.connect_tcp.complete", "connection.start_tls.complete") and self.connected_s is None:
            self.connected_s = time.perf_counter() - self._connect_began

    def _failure(self, error: Exception, *, begun: bool) -> PromptFailed:
        import httpx

        if isinstance(error, httpx.ConnectTimeout):
            return PromptFailed(
                f"{self.base} did not accept a connection within {self._request.connect_timeout_s:g} s.",
                "Check the address, and whether a firewall drops packets to it.",
            )
        if isinstance(error, httpx.ConnectError):
            return PromptFailed(
                f"Cannot connect to {self.base}: {_reason(error)}.",
                "Start the deployment, or wait for it: a server opens its port only when its models are loaded.",
            )
        if isinstance(error, httpx.TimeoutException):
            return PromptFailed(
                f"{self.base} accepted the connection and sent nothing for {self._request.idle_timeout_s:g} s."
            )
        if isinstance(error, httpx.RemoteProtocolError) and not any(
            word in str(error) for word in ("closed", "disconn")
        ):
            return PromptFailed(f"{self.base} does not speak HTTP: {excerpt(str(error))}.", "Check the port.")
        if isinstance(error, httpx.ReadError | httpx.RemoteProtocolError | httpx.WriteError):
            how = (
                "cut the connection in the middle of its answer" if begun else "closed the connection without an answer"
            )
            return PromptFailed(f"{self.base} {how}.", "Its log says why.")
        return PromptFailed(f"Talking to {self.base} failed: {_reason(error)}.")


async def _read(response: "httpx.Response") -> bytes:
    body = bytearray()
    async for block in response.aiter_raw():
        body += block
        if len(body) > MAX_BODY:
            raise PromptFailed(f"The server answered {response.url.path} with more than {MAX_BODY >> 20} MiB.")
    return bytes(body)


async def _blocks(response: "httpx.Response") -> AsyncGenerator[bytes, None]:
    async for block in response.aiter_raw():
        yield block


def _reason(error: BaseException) -> str:
    """The deepest word of the operating system, such as `Connection refused`, or else the error's own."""
    words = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            words = os.strerror(cause.errno) if cause.errno and cause.errno > 0 else cause.strerror
        cause = cause.__cause__ or cause.__context__
    return words.rstrip(".")
