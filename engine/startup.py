"""How far a start has come, as its log and its files tell. Light to import. Times are seconds since the epoch."""

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """In the order in which they come; no server has all of them. The value is what the operator reads."""

    PULL = "image pull"
    BOOT = "boot"
    """The image's own start, its check of the driver, the server's configuration"""
    ENGINE = "engine start"
    """The engine's processes begin, and find each other"""
    DOWNLOAD = "download"
    WEIGHTS = "weights"
    COMPILE = "compile"
    PROFILE = "memory profiling"
    KV_CACHE = "KV cache"
    GRAPHS = "graph capture"
    MODELS = "other models"
    """Triton: what is loaded before and after the engine (preprocessing, ensembles)"""
    SERVE = "endpoints"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class PhaseProgress:
    phase: Phase
    began_at: float
    ended_at: float | None = None
    done: float | None = None
    total: float | None = None
    """None when nobody says how much there is"""
    unit: str = ""
    """shards, bytes, graphs, layers, models; of both `done` and `total`"""
    rate: float | None = None
    """Units a second, over the last seconds"""
    detail: str = ""
    """What it is busy with, in a few words: a model's name, a file"""


@dataclass(frozen=True, slots=True)
class Reported:
    """A figure that the engine itself has told, e.g. `weights 14.99 GiB`; of several ranks the largest need counts."""

    key: str
    """weights_bytes, kv_bytes, kv_tokens, concurrency, concurrency_tokens, graphs_bytes, compile_s, weights_s,
    engine_init_s, graphs_s, download_s, activation_bytes, model_instances"""
    value: float
    """Bytes, tokens, seconds or a factor, as its key says"""
    line: str = ""
    """The line that says so"""


@dataclass(frozen=True, slots=True)
class Startup:
    """The start of one run of a deployment."""

    began_at: float
    phases: tuple[PhaseProgress, ...] = ()
    """Those that have begun, in the order of their beginning; the last is under way unless it has ended"""
    moved_at: float | None = None
    """When the log or the files last showed progress"""
    reported: tuple[Reported, ...] = ()
    usual: tuple[tuple[str, float], ...] = ()
    """Phases of past launches like this one, by their value, and their typical seconds"""
    problem: str = ""
    """Why its log cannot be followed"""

    @property
    def current(self) -> PhaseProgress | None:
        return self.phases[-1] if self.phases and self.phases[-1].ended_at is None else None

    def usual_s(self, phase: Phase) -> float | None:
        return dict(self.usual).get(phase.value)
