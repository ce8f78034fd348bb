"""What a load test measured. Times `…_at` are seconds since the epoch, all else seconds on a monotonic clock.

Definitions, of each request:
TTFT: from sending to the first non-empty text (reasoning included). ITL: (last - first) / (tokens - 1), undefined for
fewer than two tokens; those that came with the first took no time by it, see `Doubt.FEW_ARRIVALS`. Gap: between
successive chunks with text. E2E: from sending to the last token. With a rate both TTFT and E2E are also from when the
request was *meant* to be sent, which is what a user waits. Percentiles are linearly interpolated between the two
nearest ranks (numpy's default).
"""

from dataclasses import dataclass
from enum import StrEnum

from engine.inference.prompt import Fault
from engine.load_plan import Level, LoadPlan

LEAST_FOR_P99 = 100
STOPPED_BY_HAND = "It was stopped before its end."


@dataclass(frozen=True, slots=True)
class Digest:
    """A distribution; None where there is nothing, and p99 below `LEAST_FOR_P99` values."""

    n: int = 0
    mean: float | None = None
    spread: float | None = None
    """Standard deviation, from two values on"""
    least: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    most: float | None = None

    @property
    def tail(self) -> float | None:
        """p99, or p95 where that is not known."""
        return self.p95 if self.p99 is None else self.p99


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request; times are seconds since its level began."""

    intended: float
    sent: float | None
    """None: it was not sent"""
    first_token: float | None = None
    last_token: float | None = None
    ended: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    counted: bool = False
    """By the server; otherwise chunks"""
    fault: Fault | None = None
    arrivals: int | None = None
    """Times at which some of its text came: chunks, those that were read at once being one. None: it was not kept"""


@dataclass(frozen=True, slots=True)
class Failures:
    """Requests that failed alike."""

    fault: Fault
    count: int
    example: str
    """The first one's sentence"""


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """What the server's own counters and histograms grew by over the same time; None where it has no such."""

    requests: float | None = None
    tokens_in: float | None = None
    tokens_out: float | None = None
    ttft: Digest = Digest()
    """Mean is exact; quantiles are interpolated within the histogram's buckets"""
    itl: Digest = Digest()
    e2e: Digest = Digest()
    queue: Digest = Digest()
    alone: bool = True
    """Nobody else's requests were counted meanwhile: requests are as many as were sent"""
    own: bool = True
    """False: it counts several models, none of them by the name that was asked. The figures are of all of them"""


@dataclass(frozen=True, slots=True)
class Generator:
    """How well the client itself kept up."""

    lag: Digest = Digest()
    """By how much its loop woke too late"""
    late: Digest = Digest()
    """Sent after it was meant to be, with a rate"""
    cpu: float | None = None
    """Share of one core that it used"""


class Doubt(StrEnum):
    """Why a level's figures are not to be trusted as they are."""

    CLIENT_SLOW = "the client was too slow"
    """Its loop woke late, it sent late, or its core was full: latencies hold its own delay. One that used little of a
    core was late because others on its machine had the processor"""
    NOT_SENT = "not all could be sent"
    OVERLOADED = "the queue grew"
    """More came than the server answered: what was measured depends on how long it went on"""
    OTHERS = "others asked, too"
    OTHER_MODELS = "other models were counted"
    """The server names none as the one that was asked"""
    SHORT = "few requests"
    STOPPED = "stopped early"
    COUNTED_BY_CHUNKS = "tokens are chunks"
    FEW_ARRIVALS = "many tokens at once"
    """What was read at once has one time: where more than one came first, TTFT may be late, and ITL is short, or 0"""
    FREE_ENDS = "answers may end early"
    """The model takes no `ignore_eos`, so it was left out: lengths differ with what the model says"""


@dataclass(frozen=True, slots=True)
class LevelResult:
    level: Level
    repeat: int
    """From 0"""
    began_at: float
    seconds: float
    """From the first sending to the last answer's end"""
    done: int
    failed: int
    not_sent: int
    failures: tuple[Failures, ...]
    ttft: Digest
    itl: Digest
    gap: Digest
    e2e: Digest
    ttft_intended: Digest
    e2e_intended: Digest
    """Both equal those from sending when closed"""
    tokens_in: int
    tokens_out: int
    requests_per_s: float
    output_tokens_per_s: float
    good: int | None
    """Requests that kept all objectives; None without objectives"""
    goodput_per_s: float | None
    server: ServerFigures | None
    """None: it has no metrics"""
    generator: Generator
    doubts: tuple[Doubt, ...] = ()
    sent: int = 0
    """Requests that reached the server or may have, those among them that a stop has cut: what it can have counted"""


class LoadOutcome(StrEnum):
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LoadResult:
    id: str
    """Empty until it is kept"""
    deployment: str
    run: str
    """As in `engine.prompt_record.KeptPrompt`"""
    what: str
    """Its image, or program"""
    model: str
    transport: str
    plan: LoadPlan
    began_at: float
    outcome: LoadOutcome
    message: str
    """Why it failed or was stopped"""
    levels: tuple[LevelResult, ...]
    machine: str = ""
    """Of the client: its name, processor and number of cores"""

    @property
    def came_to_nothing(self) -> bool:
        """Stopped by hand before anything was answered: such a one is not kept."""
        answered = any(level.done or level.failed for level in self.levels)
        return not answered and self.outcome is LoadOutcome.STOPPED and self.message == STOPPED_BY_HAND


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How it stands, about twice a second."""

    level: Level
    number: int
    """Of the levels, repeats included; from 1"""
    of: int
    warming: bool
    elapsed_s: float
    """Of this level"""
    share: float | None
    """Of the whole test that is behind; None: unknown"""
    sent: int
    in_flight: int
    done: int
    failed: int
    ttft: Digest
    itl: Digest
    e2e: Digest
    """All of this level so far"""
    requests_per_s: float
    output_tokens_per_s: float
    """Both over the last five seconds"""
    failures: tuple[Failures, ...]
    doubts: tuple[Doubt, ...]
    finished: tuple[LevelResult, ...]
    ttft_recent: Digest = Digest()
    """Of those that were answered over the last five seconds, as `ttft` is"""


LoadEvent = LoadProgress | LoadResult
"""The result is always the last"""


@dataclass(frozen=True, slots=True)
class LoadChange:
    """One figure of two load tests, at the same level."""

    level: Level
    title: str
    unit: str
    first: float | None
    second: float | None
    change: float | None
    """Share by which the second is more"""
    noise: float | None
    """Share by which repeats of the same differ; None: not known"""

    @property
    def beyond_noise(self) -> bool | None:
        """None: noise is not known."""
        return None if self.change is None or self.noise is None else abs(self.change) > self.noise
