"""What every transport gives to the client: an opened way to one model, and the raw chunks of its answer."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from engine.errors import EngineError
from engine.inference.prompt import Transport

# from a \u escape; those in between stand for bytes
_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class PromptFailed(EngineError):
    """A prompt could not be sent, or its answer did not come to its end."""


class NoTextModel(PromptFailed):
    """The server is well, and nobody can say which of its models, if any, a prompt is for."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of the answer. The first one says only that the answer has begun."""

    text: bytes = b""
    """New text since the last chunk, UTF-8 that may be cut inside a character; not cleaned"""
    finish_reason: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    """The server's own count so far"""


class Channel(Protocol):
    """A way to one model, for one prompt. Everything raises `PromptFailed` with the sentence for the operator."""

    transport: Transport
    where: str
    """The address, for sentences"""

    @property
    def model(self) -> str:
        """Empty until `open` has found it."""
        ...

    @property
    def connected_s(self) -> float | None:
        """Seconds that opening the connection took."""
        ...

    @property
    def sent_at(self) -> float | None:
        """`time.perf_counter` when the prompt was sent, on a connection that was open; None before."""
        ...

    async def open(self) -> None:
        """Connects and finds the model."""
        ...

    def stream(self) -> AsyncGenerator[Chunk, None]:
        """Sends the prompt. Closing the generator ends the request on the server too."""
        ...

    async def close(self) -> None: ...


def to_bytes(text: str) -> bytes:
    """UTF-8 again, with the bytes that `surrogateescape` kept, so that a character cut between two chunks is whole."""
    return _LONE_SURROGATE.sub("\ufffd", text).encode("utf-8", "surrogateescape")
