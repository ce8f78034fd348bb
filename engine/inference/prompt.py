"""A prompt and what came of it. Durations are seconds from the moment the request was sent, on a monotonic clock."""

from dataclasses import dataclass, field
from enum import StrEnum


class Transport(StrEnum):
    """The protocols that a prompt can be sent by."""

    TRITON_HTTP = "triton-http"
    TRITON_GRPC = "triton-grpc"
    OPENAI = "openai"


class PromptOutcome(StrEnum):
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PromptRequest:
    prompt: str
    model: str | None = None
    """None: the deployment's stated model, or the only one that takes text"""
    max_tokens: int = 256
    temperature: float | None = None
    transport: Transport | None = None
    """None: by the deployment's protocol"""
    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 60.0
    """The longest silence that is waited for, the first token included"""


@dataclass(frozen=True, slots=True)
class Timing:
    """None where it did not happen, or cannot be known."""

    connected_s: float | None = None
    """Time that opening the connection took, before the request was sent; not part of the others"""
    first_byte_s: float | None = None
    first_token_s: float | None = None
    """The first non-empty text"""
    last_token_s: float | None = None
    total_s: float | None = None
    """Until the stream was closed"""
    tokens_in: int | None = None
    tokens_out: int | None = None
    token_source: str = "chunks"  # noqa: S105 (no secret)
    """`server` when it counted them, otherwise `chunks`: each non-empty chunk counts as one"""

    @property
    def tokens_per_s(self) -> float | None:
        """Output rate while decoding: (n - 1) / (last - first); undefined for fewer than two tokens."""
        if self.tokens_out is None or self.tokens_out < 2 or self.first_token_s is None or self.last_token_s is None:
            return None
        span = self.last_token_s - self.first_token_s
        return (self.tokens_out - 1) / span if span > 0 else None


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of output text, cleaned of terminal control sequences."""

    text: str
    at_s: float


@dataclass(frozen=True, slots=True)
class PromptResult:
    """The end of a prompt; always the last event of its stream, whatever happened."""

    request: PromptRequest
    outcome: PromptOutcome
    text: str
    model: str = ""
    transport: Transport | None = None
    finish_reason: str = ""
    """stop, length … as the server said it; empty when it did not"""
    error: str = ""
    timing: Timing = field(default_factory=Timing)
    no_text_model: bool = False
    """It failed because the server, well as it is, has no model that a prompt could be for"""
    gaps_s: tuple[float, ...] = ()
    """Time between successive non-empty chunks"""


PromptEvent = Token | PromptResult
