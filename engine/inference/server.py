"""One server: the key that its requests carry, and a sentence for each way that it can fail to answer."""

import asyncio
from collections.abc import Mapping

from engine.errors import Refused
from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault, PromptRequest
from engine.inference.sse import error_message, excerpt
from engine.inference.unfit import Unfit
from engine.secrets import resolve_secrets
from engine.text import mask_secrets
from engine.wire.address import Address, address_of
from engine.wire.failure import Failure, UnansweredError

MAX_BODY = 4 << 20
"""Bytes of an answer that is no stream"""
OPENAI, TRITON = "the OpenAI protocol", "Triton's protocol"
_REDIRECTS = range(300, 400)


class Server:
    """`api_key`: reference to the key, resolved when it is asked for first."""

    def __init__(self, base: str, api_key: str | None = None) -> None:
        self.base = base.rstrip("/")
        self._reference = api_key
        self._key: str | None = None

    async def key(self) -> str:
        """Empty when there is none. Raises `Unfit`."""
        if self._key is None:
            self._key = await self._resolved()
        return self._key

    def address(self, path: str = "") -> Address:
        """Raises `PromptFailed` (`Fault.UNFIT`)."""
        try:
            return address_of(self.base + path)
        except UnansweredError as error:
            raise self.failure(error, PromptRequest(""), begun=False) from error

    def expect(self, status: int, body: bytes, protocol: str = "") -> bytes:
        """The body of a good answer. Raises `PromptFailed` with the server's word for others.

        `protocol`: whose first question it was; who does not know it speaks another.
        """
        if status == 200:
            return body
        if status == 404 and protocol:
            what = f"{self.base} does not speak {protocol} (HTTP 404): {self.reason(body).rstrip('.')}."
            raise PromptFailed(what, "Leave the transport to the deployment, or choose another.", Fault.UNFIT)
        raise PromptFailed(f"{self.base} refused (HTTP {status}): {self.reason(body)}", fault=Fault.REFUSED)

    def reason(self, body: bytes) -> str:
        """The server's word in the body of an error, without the keys that some servers repeat there."""
        word = mask_secrets(error_message(body))
        return word.replace(self._key, "***") if self._key else word

    def refuse_redirect(self, status: int, headers: Mapping[bytes, bytes]) -> None:
        """Raises `PromptFailed` for an answer that sends elsewhere. `headers`: by their names in lower case."""
        if status in _REDIRECTS and b"location" in headers:
            target = excerpt(headers[b"location"], 200)
            raise PromptFailed(
                f"{self.base} redirects to {target!r}, which is not followed.",
                "Give the server's own address as the endpoint.",
                Fault.REFUSED,
            )

    def too_large(self, path: str) -> PromptFailed:
        return PromptFailed(f"The server answered {path} with more than {MAX_BODY >> 20} MiB.")

    def failure(self, error: UnansweredError, limits: PromptRequest, *, begun: bool) -> PromptFailed:
        """`begun`: whether some of the answer had come."""
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
                unfinished, silent = (
                    "began to answer and did not finish within",
                    "accepted the connection and sent nothing for",
                )
                how = f"{unfinished if begun else silent} {limits.idle_timeout_s:g} s"
                return PromptFailed(f"{self.base} {how}.", fault=Fault.IDLE)
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
