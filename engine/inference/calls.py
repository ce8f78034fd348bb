"""Requests that are answered in one piece, where their cost does not matter: to list, load, sleep and wake."""

import os
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault, PromptRequest
from engine.inference.server import MAX_BODY, Server
from engine.wire.failure import Failure, UnansweredError
from engine.wire.names import addresses

if TYPE_CHECKING:
    import httpx

KEPT_S = 3.0
"""That a connection is kept without a use: vLLM's server closes it after 5 s, and what it closes must not be used"""
_ENDED = ("disconnected", "peer closed")
"""What httpcore and h11 say of a connection that ends before the answer does; the rest is of what is no HTTP"""


class Calls:
    """Talks to one server only: follows no redirect, asks no proxy, unfolds no answer, and sends nothing twice.

    One call at a time. How long it waits is for who calls to say, but for a connection. Raises `PromptFailed`.
    """

    def __init__(self, base: str, api_key: str | None = None) -> None:
        self._server = Server(base, api_key)
        self._limits = PromptRequest("")
        self._client: httpx.AsyncClient | None = None
        self._hosts: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        return self._server.base

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        """Status and body."""
        client = await self._opened()
        failure: PromptFailed | None = None
        for host in self._hosts:
            try:
                answer = await self._ask(client, host, method, path, body)
            except PromptFailed as error:
                if error.fault is not Fault.CONNECTION:
                    raise
                failure = error
            else:
                self._hosts = (host,)
                return answer
        raise failure or PromptFailed(f"The host of {self.base} has no address.", fault=Fault.CONNECTION)

    def expect(self, status: int, body: bytes, protocol: str = "") -> bytes:
        """As `Server.expect`."""
        return self._server.expect(status, body, protocol)

    def reason(self, body: bytes) -> str:
        """The server's word in the body of an error, without the keys that some servers repeat there."""
        return self._server.reason(body)

    async def _opened(self) -> "httpx.AsyncClient":
        if self._client is None:
            import httpx

            address, key = self._server.address(), await self._server.key()
            self._hosts = await self._found(address.host)
            headers = {"Host": address.authority, "Accept-Encoding": "identity", "User-Agent": "tritontui"}
            self._client = httpx.AsyncClient(
                headers=headers | ({"Authorization": f"Bearer {key}"} if key else {}),
                timeout=httpx.Timeout(None, connect=self._limits.connect_timeout_s),
                limits=httpx.Limits(keepalive_expiry=KEPT_S),
                trust_env=False,
                verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # of no use to http, and dear to make when left out
            )
        return self._client

    async def _found(self, host: str) -> tuple[str, ...]:
        """Not by asyncio's own threads, which httpx would use: a name service that hangs would hold up the exit."""
        try:
            return tuple(await addresses(host))
        except (OSError, UnicodeError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise self._failure(Failure.UNREACHABLE, said) from error

    async def _ask(
        self, client: "httpx.AsyncClient", host: str, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        import httpx

        address = self._server.address(path)
        url = httpx.URL(scheme="http", host=host, port=address.port, raw_path=address.target.encode("ascii"))
        begun = False
        try:
            async with client.stream(method, url, json=body) as response:
                begun = True
                self._server.refuse_redirect(response.status_code, {k.lower(): v for k, v in response.headers.raw})
                content = bytearray()
                async for block in response.aiter_raw():
                    content += block
                    if len(content) > MAX_BODY:
                        raise self._server.too_large(path)
                return response.status_code, bytes(content)
        except httpx.ConnectTimeout as error:
            raise self._failure(Failure.NOT_ACCEPTED) from error
        except httpx.ConnectError as error:
            raise self._failure(Failure.REFUSED, _said(error)) from error
        except httpx.RemoteProtocolError as error:
            ended = any(word in str(error) for word in _ENDED)
            raise self._failure(Failure.CUT if ended else Failure.NO_HTTP, str(error), begun=begun) from error
        except httpx.TransportError as error:
            raise self._failure(Failure.CUT, begun=begun) from error

    def _failure(self, failure: Failure, said: str = "", *, begun: bool = False) -> PromptFailed:
        return self._server.failure(UnansweredError(failure, said), self._limits, begun=begun)


def _said(error: Exception) -> str:
    """The system's own word, beneath those of the libraries."""
    beneath: BaseException | None = error
    while beneath is not None:
        if isinstance(beneath, OSError) and beneath.errno:
            return os.strerror(beneath.errno)
        beneath = beneath.__cause__ or beneath.__context__
    return str(error)
