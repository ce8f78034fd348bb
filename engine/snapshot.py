"""Immutable pictures of everything that the console shows at one moment. Times are seconds since the epoch."""

from dataclasses import dataclass
from enum import StrEnum

from engine.deployment import Deployment, State


class Freshness(StrEnum):
    """How far a pane's data can be trusted."""

    LOADING = "loading"
    FRESH = "fresh"
    STALE = "stale"
    FAILED = "failed"
    NONE = "none"
    """There is nothing to show and nothing is wrong"""


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

    @property
    def endpoint(self) -> str:
        return self.deployment.service.http if self.deployment else ""


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    name: str
    reachable: bool
    detail: str
    """Version when reachable, otherwise the sentence that says why not and what to do"""
    since: float


class Outcome(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its process is gone and left no outcome"""


class StepKind(StrEnum):
    CHECK = "check"
    CREATE = "create"
    START = "start"
    WAIT = "wait"
    """Only watches: nothing is being changed, so other operations may begin"""
    PROMPT = "prompt"
    GPUS = "gpus"
    """Whether it got the GPUs that the plan placed it on"""
    STOP = "stop"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Step:
    kind: StepKind
    title: str
    outcome: Outcome | None = None
    """None: not begun"""
    detail: str = ""
    began_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class OperationStatus:
    """One change to the world, under way or ended."""

    id: str
    kind: str
    """start, stop, restart or remove"""
    target: str
    steps: tuple[Step, ...]
    began_at: float
    outcome: Outcome
    owner: str
    """user@host, pid"""
    ended_at: float | None = None
    message: str = ""

    @property
    def current(self) -> Step | None:
        return next((step for step in self.steps if step.outcome is Outcome.RUNNING), None)


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; None where the driver does not say. Memory in bytes, power in watts, temperature in °C, load in %."""

    index: int
    uuid: str
    name: str
    utilization: float | None
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    power: float | None
    power_limit: float | None
    error: str = ""
    """Why readings are missing (a lost GPU, a call that is not supported)"""
    history: tuple[float | None, ...] = ()
    """Utilization in %, oldest first, one value per sample; None is a gap"""


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The machine's CPU (% of all cores) and memory (bytes)."""

    cpu: float
    cores: int
    memory_used: int
    memory_total: int
    load_1m: float
    history: tuple[float, ...] = ()
    """CPU in %, oldest first"""


@dataclass(frozen=True, slots=True)
class GpuReading:
    at: float
    freshness: Freshness
    gpus: tuple[Gpu, ...] = ()
    message: str = ""
    """Why there are no GPUs, or why the reading is stale"""
    driver: str = ""
    host: HostLoad | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the metrics view: a current value and its history."""

    key: str
    title: str
    unit: str
    value: float | None
    source: str
    """The family it is computed from, and how, e.g. 'rate of nv_inference_request_success'"""
    times: tuple[float, ...] = ()
    values: tuple[float | None, ...] = ()
    """As many as `times`; None is a gap"""


@dataclass(frozen=True, slots=True)
class MetricsReading:
    at: float | None
    """The last successful scrape"""
    freshness: Freshness
    url: str = ""
    message: str = ""
    series: tuple[Series, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    at: float
    hostname: str
    loading: bool
    """True until every source has reported once"""
    models: tuple[Model, ...] = ()
    problems: tuple[ProfileProblem, ...] = ()
    runtimes: tuple[RuntimeStatus, ...] = ()
    operations: tuple[OperationStatus, ...] = ()
    """Those under way and the last that ended, newest first"""
    gpus: GpuReading | None = None
    trouble: str = ""
    """What is wrong with the engine's own keeping, e.g. a history that cannot be written"""

    def runtime(self, name: str) -> RuntimeStatus | None:
        return next((status for status in self.runtimes if status.name == name), None)

    def model(self, name: str) -> Model | None:
        return next((model for model in self.models if model.name == name), None)
