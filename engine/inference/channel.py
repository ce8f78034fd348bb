"""What every protocol gives to the client: a way to one server, and what it tells of an answer."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from engine.errors import EngineError
from engine.inference.prompt import Fault, PromptRequest, Transport

if TYPE_CHECKING:
    from engine.inference.measured import Measured

# from a \u escape; those in between stand for bytes
_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")

MOST_TOKENS = 1 << 31
"""Of one prompt or answer; figures are made of them"""


class PromptFailed(EngineError):
    """A prompt could not be sent, or its answer did not come to its end."""

    def __init__(self, what: str, remedy: str = "", fault: Fault = Fault.RUBBISH) -> None:
        super().__init__(what, remedy)
        self.fault = fault


class NoTextModel(PromptFailed):
    """The server is well, and nobody can say which of its models, if any, a prompt is for."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy, Fault.UNFIT)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of the answer."""

    text: bytes = b""
    """New text since the last chunk, UTF-8 that may be cut inside a character; not cleaned"""
    finish_reason: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    """The server's own count so far"""


class Channel(Protocol):
    """Ways to one server by one protocol, open ones first. Everything raises `PromptFailed` with a sentence."""

    transport: Transport
    where: str
    """The address, for sentences"""

    @property
    def lag_s(self) -> float:
        """The longest time that something had arrived before it was read; 0 where that cannot be known."""
        ...

    async def carry_out(self, request: PromptRequest, measured: "Measured") -> None:
        """Sends the prompt, and returns at the end of its answer, of which `measured` is told as it comes.

        When it is cancelled, the request ends on the server too.
        """
        ...

    async def close(self) -> None: ...


def token_count(value: Any) -> int | None:
    """What a server says that it has counted; None for what no number of tokens can be."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


def to_bytes(text: str) -> bytes:
    """UTF-8 again, with the bytes that `surrogateescape` kept, so that a character cut between two chunks is whole."""
    if text.isascii():
        return text.encode()
    return _LONE_SURROGATE.sub("\ufffd", text).encode("utf-8", "surrogateescape")
