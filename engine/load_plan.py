"""What a load test is to do. Durations are seconds; lengths are tokens."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from engine.inference.prompt import Sampling, Style, Transport

MOST_IN_FLIGHT = 1024
MOST_RATE = 10_000.0
"""Requests per second"""
MOST_TOKENS = 1 << 20
"""Of a prompt, or of an answer"""


class Arrival(StrEnum):
    """When requests are sent."""

    CLOSED = "closed"
    """So many are always under way: the next is sent when one has ended"""
    POISSON = "poisson"
    """At a rate, with exponential gaps, whatever has become of those before"""
    CONSTANT = "constant"
    """At a rate, evenly"""


@dataclass(frozen=True, slots=True)
class Level:
    """How much load: one of several that a sweep goes through."""

    arrival: Arrival
    amount: float
    """Requests under way when closed, a whole number; requests per second otherwise"""

    @property
    def words(self) -> str:
        """E.g. `8 at once`, `2.5/s poisson`."""
        if self.arrival is Arrival.CLOSED:
            return f"{self.amount:.0f} at once"
        return f"{self.amount:g}/s {self.arrival.value}"


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens, normally distributed about a mean, never fewer than 1 nor more than `MOST_TOKENS`."""

    mean: float
    spread: float = 0.0
    """Standard deviation"""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent: synthetic text, or the prompts of a file in their order, again and again."""

    prompt: Lengths = Lengths(128)
    output: Lengths = Lengths(64)
    shared_prefix: int = 0
    """Tokens that all prompts begin with, fewer than their mean length; otherwise no two begin alike, so that no prefix
    cache answers"""
    seed: int = 0
    """The same seed: the same lengths, arrival times, and prompts but for their first words. Those are each test's own,
    so that what a prefix cache has kept of an earlier one answers nothing"""
    file: Path | None = None
    """A prompt a line, or JSON Lines with `prompt` and optionally `system` and `max_tokens`; instead of `prompt`"""


@dataclass(frozen=True, slots=True)
class Objectives:
    """What a request must keep to count as good; None: anything. One that lacks a figure does not keep it."""

    ttft_s: float | None = None
    itl_s: float | None = None
    e2e_s: float | None = None

    @property
    def any(self) -> bool:
        return not self.ttft_s is self.itl_s is self.e2e_s is None


@dataclass(frozen=True, slots=True)
class LoadPlan:
    levels: tuple[Level, ...]
    requests: int | None = 100
    """Of each level; None: only time ends it"""
    duration_s: float | None = None
    """Of each level: so long requests are sent, and those under way awaited; None: only their number ends it"""
    warmup: int = 1
    """Requests before each level that are not counted"""
    repeats: int = 1
    """How often the sweep is gone through: from two on, noise is known"""
    workload: Workload = Workload()
    sampling: Sampling = field(default_factory=lambda: Sampling(ignore_eos=True))
    """`max_tokens` is the workload's"""
    insists_on_ignore_eos: bool = False
    """Otherwise it is left out where the model is known not to take it, and the result has `Doubt.FREE_ENDS`"""
    objectives: Objectives = Objectives()
    style: Style | None = None
    model: str | None = None
    lora: str | None = None
    transport: Transport | None = None
    most_in_flight: int = MOST_IN_FLIGHT
    """With a rate: beyond it requests are not sent, which is counted and marks the result"""
    idle_timeout_s: float = 60.0
