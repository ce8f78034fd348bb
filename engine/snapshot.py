"""Immutable pictures of everything that the console shows at one moment. Times are seconds since the epoch."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from engine.deployment import Deployment, State

if TYPE_CHECKING:  # the first paint needs none of them
    from engine.diagnosis import Cause
    from engine.gpu_reading import GpuReading
    from engine.notice import Notice
    from engine.startup import Startup


@dataclass(frozen=True, slots=True)
class ProfileProblem:
    """Why a profile file cannot be used."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}" if self.line else f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class Model:
    """One row of the list: a profile, its deployment, or both."""

    name: str
    state: State
    summary: str = ""
    stack: str = ""
    runtime: str = ""
    detail: str = ""
    """One short sentence when the state alone does not explain itself"""
    since: float | None = None
    """When the present state's clock began: start of the process while it runs, its end when it ended"""
    has_profile: bool = True
    profile_path: str = ""
    deployment: Deployment | None = None
    stale_since: float | None = None
    """The runtime has not answered since then; what is shown is from before"""
    foreign: bool = False
    """Started by hand: watched, and never changed unless it is adopted"""
    drift: tuple[str, ...] = ()
    """What differs between what runs and what its profile and image now say, each in one line"""
    estimate: "Estimate | None" = None
    """How long its next start may take, from past ones"""
    startup: "Startup | None" = None
    """Of its present run: how far its start has come, and what the engine told of itself then"""
    cause: "Cause | None" = None
    """Why it failed, as far as its log tells"""
    notices: "tuple[Notice, ...]" = ()
    """What the operator should look at while it runs: thresholds that are passed, no answer"""

    @property
    def endpoint(self) -> str:
        return self.deployment.service.http if self.deployment else ""


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """Whether a runtime answers."""

    name: str
    reachable: bool
    detail: str
    """Version when reachable, otherwise the sentence that says why not and what to do"""
    since: float


class Outcome(StrEnum):
    RUNNING = "running"
    DONE = "done"
    ROLLED_BACK = "rolled back"
    """It did not succeed, or was cancelled, and all is again as it was before"""
    FAILED = "failed"
    """The message says why, and what remains"""
    CANCELLED = "cancelled"
    """A step's: it was ended by a cancellation"""
    INTERRUPTED = "interrupted"
    """Its process is gone and left no outcome"""


class StepKind(StrEnum):
    CHECK = "check"
    DRAIN = "drain"
    """Wait until the outgoing has answered the requests that it has"""
    STOP = "stop"
    SLEEP = "sleep"
    UNLOAD = "unload"
    MEMORY = "memory"
    """Wait until the GPU memory is free and steady"""
    PULL = "pull"
    """Fetch the image"""
    CREATE = "create"
    START = "start"
    LOAD = "load"
    WAKE = "wake"
    GPUS = "gpus"
    """Whether it got the GPUs that the plan placed it on"""
    WAIT = "wait"
    """Until its health endpoint says that it is ready"""
    PROMPT = "prompt"
    """A real prompt is answered"""
    LET_GO = "let go"
    """The outgoing is kept stopped, or removed"""
    KEEP_LOG = "keep log"
    REMOVE = "remove"
    PROFILE = "profile"
    """Its profile is written"""
    ADOPT = "adopt"


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an operation."""

    kind: StepKind
    title: str
    outcome: Outcome | None = None
    """None: not begun"""
    detail: str = ""
    began_at: float | None = None
    ended_at: float | None = None
    subject: str = ""
    """The deployment that it is about"""
    undo: bool = False
    """A step of rolling back"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a start takes until a prompt is answered, from past starts of the same; seconds."""

    typical: float
    """Their median"""
    low: float
    high: float
    """The 10th and 90th percentiles; with fewer than five launches the shortest and the longest"""
    launches: int
    """How many it is made from"""
    note: str = ""
    """What is not quite the same: another host, a cold cache"""


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """One change to the world, under way or ended."""

    id: str
    kind: str
    """An `engine.request.Action`"""
    target: str
    """The deployment; of a swap the incoming one"""
    steps: tuple[Step, ...]
    began_at: float
    outcome: Outcome
    owner: str
    """user@host, and from where"""
    ended_at: float | None = None
    message: str = ""
    """How it ended, in a sentence or two: cause, and what remains"""
    outgoing: tuple[str, ...] = ()
    pid: int = 0
    """Of the process that carries it out"""
    plan_digest: str = ""
    notes: tuple[str, ...] = ()
    """What the operator should know besides, e.g. that a dead holder's lease was taken over"""
    log_path: str = ""
    """File with the log of what failed, when that was removed"""
    estimate: Estimate | None = None
    """Of the launch, counted from `launching_since`"""
    cancelled: bool = False
    """Cancellation was asked for"""
    exit_code: int | None = None
    """What a command that waited for it exits with (docs/commands.md); None while it is under way"""
    settled_by: str = ""
    """Of an interrupted one: how it was settled, in a word"""

    @property
    def current(self) -> Step | None:
        return next((step for step in self.steps if step.outcome is Outcome.RUNNING), None)

    @property
    def launching_since(self) -> float | None:
        """When what was made began to start; None before that."""
        launching = (StepKind.START, StepKind.LOAD, StepKind.WAKE)
        return next((step.began_at for step in self.steps if step.kind in launching and not step.undo), None)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The deployments that it changes."""
        return (self.target, *self.outgoing)

    @property
    def title(self) -> str:
        """E.g. `swap mixtral → llama3-70b`, `start smollm2`."""
        return (
            f"{self.kind} {', '.join(self.outgoing)} → {self.target}" if self.outgoing else f"{self.kind} {self.target}"
        )

    @property
    def unsettled(self) -> bool:
        """Its process is gone, and nobody has finished it or rolled it back."""
        return self.outcome is Outcome.INTERRUPTED and not self.settled_by

    @property
    def rolling_back(self) -> bool:
        return self.outcome is Outcome.RUNNING and any(step.undo for step in self.steps)


@dataclass(frozen=True, slots=True)
class LeaseStatus:
    """Who is changing this machine, as the container engine has it."""

    what: str
    who: str
    """user@host, and from where"""
    since: float
    alive: bool | None
    """None when it cannot be told from here"""
    operation: str = ""
    """Its id; it is in the journal only when it is of the same user"""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit: an operation that began, ended or was refused."""

    at: float
    user: str
    host: str
    address: str
    """Of the SSH client; empty for somebody at the machine itself"""
    via: str
    """command or console"""
    operation: str
    """Its id"""
    event: str
    """began, done, rolled back, failed or refused"""
    what: str
    """E.g. `swap mixtral → llama3-70b`"""
    plan_digest: str = ""
    seconds: float | None = None
    """How long it took"""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the console shows."""

    at: float
    hostname: str
    loading: bool
    """True until every source has reported once"""
    models: tuple[Model, ...] = ()
    problems: tuple[ProfileProblem, ...] = ()
    runtimes: tuple[RuntimeStatus, ...] = ()
    operations: tuple[OperationStatus, ...] = ()
    """Those under way and the last that ended, newest first"""
    lease: LeaseStatus | None = None
    """Held by an operation, perhaps another user's"""
    read_only: str = ""
    """Why nothing may be changed from here; empty when it may"""
    gpus: "GpuReading | None" = None
    trouble: str = ""
    """What is wrong with the engine's own keeping, e.g. a history that cannot be written"""

    def runtime(self, name: str) -> RuntimeStatus | None:
        return next((status for status in self.runtimes if status.name == name), None)

    def model(self, name: str) -> Model | None:
        return next((model for model in self.models if model.name == name), None)
