"""What a deployment's metrics endpoint has told, over time. Times are seconds since the epoch."""

from dataclasses import dataclass
from enum import StrEnum

from engine.freshness import Freshness


class Group(StrEnum):
    """What a line of the metrics view is about; in the order of the view."""

    PINNED = "pinned"
    REQUESTS = "requests"
    LATENCY = "latency"
    TOKENS = "tokens"
    CACHE = "cache"
    ENGINE = "engine"
    """LoRA adapters, speculative decoding, sleep"""
    MODELS = "models"
    """Triton's, per model"""
    SERVER = "server"


class Bound(StrEnum):
    """What a quantile of a histogram can be said to be."""

    EXACT = ""
    """As exact as its buckets are"""
    BELOW = "<"
    """It lies in the lowest bucket: less than the value, which is that bucket's bound"""
    ABOVE = ">"
    """It lies beyond the highest finite bound, which is the value"""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of the metrics view: a current value and its history."""

    key: str
    """Stable; what it is pinned, kept and compared by"""
    title: str
    unit: str
    value: float | None
    source: str
    """The family it is computed from, and how, e.g. 'rate of nv_inference_request_success'"""
    times: tuple[float, ...] = ()
    values: tuple[float | None, ...] = ()
    """As many as `times`; None is a gap"""
    group: Group = Group.SERVER
    of: str = ""
    """The one of several that it is of, e.g. a model of a Triton server, or a reason of failure"""
    bound: Bound = Bound.EXACT
    """Of `value`"""
    word: str = ""
    """Instead of the value where it is no number, e.g. names of loaded adapters, `awake`"""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to the deployment, for the charts."""

    at: float
    text: str
    """E.g. `swap mixtral → llama3-70b`"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One series' mean before and after; None where there was nothing to measure."""

    key: str
    title: str
    unit: str
    before: float | None
    after: float | None
    before_bound: Bound = Bound.EXACT
    after_bound: Bound = Bound.EXACT
    """Of a quantile that was not always within the histogram's buckets: the mean is less, or more, than the value"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a swap, or a start anew, has changed."""

    mark: Mark
    before: str
    """The deployment that served before; the same name when it was started anew"""
    seconds_before: float
    """How much of the time before has been measured, at most the window that is compared"""
    seconds_after: float
    rows: tuple[Compared, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family that the endpoint reports, as it names it."""

    name: str
    kind: str
    """counter, gauge, histogram, summary, or untyped"""
    help: str
    series: int
    """How many label sets it has; 0: it is pinned, and not reported now"""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class MetricsReading:
    at: float | None
    """The last successful scrape"""
    freshness: Freshness
    url: str = ""
    message: str = ""
    series: tuple[Series, ...] = ()
    marks: tuple[Mark, ...] = ()
    """Oldest first; within the time that the series reach back"""
    comparison: Comparison | None = None
    """Of the last swap or start anew, when something was measured before it"""
