"""A prompt and what came of it. Durations are seconds from the moment the request was sent, on a monotonic clock."""

from dataclasses import dataclass, field
from enum import StrEnum

LATE_S, LATE_SHARE = 0.005, 0.01
"""Less than this, or than this share of the whole time, is not told of: it is what any machine does"""


class Transport(StrEnum):
    """The protocols that a prompt can be sent by."""

    TRITON_HTTP = "triton-http"
    TRITON_GRPC = "triton-grpc"
    OPENAI = "openai"


class Style(StrEnum):
    """How the prompt is put to the model."""

    CHAT = "chat"
    """As the last of some turns; the server applies the model's chat template"""
    COMPLETION = "completion"
    """As the text that the model goes on with"""


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the server is asked to do; None leaves it to the server. Named as vLLM names them."""

    max_tokens: int = 256
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    min_tokens: int | None = None
    ignore_eos: bool = False
    """Go on to `max_tokens` whatever the model says; for measuring"""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    prompt: str
    """The text, or the last turn of a chat; empty when `tensors` are sent"""
    model: str | None = None
    """None: the deployment's stated model, or the only one that takes text"""
    system: str = ""
    history: tuple[Turn, ...] = ()
    """Earlier turns, the oldest first"""
    style: Style | None = None
    """None: chat where the protocol has it and the model a template, otherwise completion"""
    sampling: Sampling = field(default_factory=Sampling)
    lora: str | None = None
    """Name of a LoRA adapter that the server has"""
    tensors: str | None = None
    """Inputs of a model that takes no text, as JSON: names with (nested) lists of values. Triton only"""
    transport: Transport | None = None
    """None: by the deployment's protocol"""
    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 60.0
    """The longest silence that is waited for, the first token included"""


class PromptOutcome(StrEnum):
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Fault(StrEnum):
    """What kind of failure ended a prompt; what a load test counts errors by."""

    CONNECTION = "no connection"
    """Refused, not accepted in time, or no such host"""
    REFUSED = "refused"
    """An HTTP or gRPC status said no before any answer"""
    ERROR = "error"
    """The server reported an error in its answer"""
    CUT = "cut"
    """The connection ended before the answer did"""
    IDLE = "idle"
    """Nothing came for as long as is waited"""
    RUBBISH = "not understood"
    """The answer was something else than the protocol says, or too large"""
    UNFIT = "cannot be sent"
    """No such model, a value that it does not take, no key"""


@dataclass(frozen=True, slots=True)
class Timing:
    """None where it did not happen, or cannot be known."""

    connected_s: float | None = None
    """Time that opening the connection took, before the request was sent; not part of the others. None: it was open"""
    first_byte_s: float | None = None
    first_token_s: float | None = None
    """The first non-empty text, reasoning included"""
    last_token_s: float | None = None
    """The last text, or the word that the answer has ended where the server counts the token that ends it"""
    total_s: float | None = None
    """Until the stream was closed"""
    tokens_in: int | None = None
    tokens_out: int | None = None
    token_source: str = "chunks"  # noqa: S105 (no secret)
    """`server` when it counted them, otherwise `chunks`: each non-empty chunk counts as one"""
    waited_s: float | None = None
    """For how long this program had no processor meanwhile, though it could have read on. What arrived in that time may
    be stamped too late by as much"""

    @property
    def late_s(self) -> float | None:
        """By how much the times may be late, where that is worth a word."""
        least = max(LATE_S, LATE_SHARE * (self.total_s or 0.0))
        return self.waited_s if self.waited_s is not None and self.waited_s >= least else None

    @property
    def counted(self) -> bool:
        """Whether the server counted the tokens."""
        return self.token_source == "server"  # noqa: S105 (no secret)

    @property
    def tokens_per_s(self) -> float | None:
        """Output rate while decoding: (n - 1) / (last - first); undefined for fewer than two tokens."""
        if self.tokens_out is None or self.tokens_out < 2 or self.first_token_s is None or self.last_token_s is None:
            return None
        span = self.last_token_s - self.first_token_s
        return (self.tokens_out - 1) / span if span > 0 else None

    @property
    def inter_token_s(self) -> float | None:
        """Mean time from one token to the next, the reciprocal of `tokens_per_s`."""
        rate = self.tokens_per_s
        return 1 / rate if rate else None


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
    """Cleaned of terminal control sequences; the outputs as JSON for `tensors`"""
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
    fault: Fault | None = None
    """Of what failed"""
    style: Style | None = None
    """How it was put in the end"""
    sent_at: float | None = None
    """`time.perf_counter` when it was sent, on a connection that was open; None when it was not"""

    @property
    def ended_by(self) -> str:
        """Why it ended, in a word: stop, length, cancelled, idle, error … Empty when nobody said.

        A server that gives no reason and has counted as many tokens as were allowed ended by `length`.
        """
        if self.outcome is PromptOutcome.CANCELLED:
            return "cancelled"
        if self.outcome is PromptOutcome.FAILED:
            return self.fault.value if self.fault else "failed"
        timing = self.timing
        if timing.counted and (timing.tokens_out or 0) >= self.request.sampling.max_tokens:
            return "length"
        return self.finish_reason


PromptEvent = Token | PromptResult
