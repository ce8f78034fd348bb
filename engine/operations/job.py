"""What every operation works with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from engine.deployment import Deployment
from engine.deployments import Deployments
from engine.diagnosis import Diagnosis
from engine.errors import Refused, RuntimeUnreachable
from engine.operations.record import Context, Record
from engine.operations.waiting import Waiting
from engine.plan import Adoption, Plan, SwapPlan
from engine.request import Request, Way
from engine.runtimes.base import Runtime
from engine.settings import Settings
from engine.snapshot import Estimate, OperationStatus
from engine.stacks.placement import Credit
from engine.startup import Startup
from engine.store import Journal

PATIENCE_S = 120.0
"""How long a container engine that does not answer is waited for once something has been changed: as long as its
restart may take. Left half done is worse than late."""
PATIENCE_EVERY_S = 1.0

AGAIN_S = 60.0
"""How long another operation's end is waited for when the lease, once given back, is needed again"""
MEANWHILE_S = 1800.0
"""The same, of one that has begun while an image was fetched: as long as a swap may well take"""

Answer = TypeVar("Answer")


class Planner(Protocol):
    def __call__(self, name: str, runtime: str | None, credit: Credit) -> Plan: ...


class SwapPlans(Protocol):
    def __call__(self, name: str, outgoing: tuple[str, ...], runtime: str | None, *, full: bool) -> SwapPlan: ...


class History(Protocol):
    """Past launches."""

    def expect(self, plan: Plan, way: Way = Way.FULL) -> Estimate | None:
        """How long starting it takes, until a prompt is answered."""
        ...

    def usual(self, deployment: Deployment) -> tuple[tuple[str, float], ...]:
        """The phases of past starts like its present one, and the typical seconds of each."""
        ...

    def files(self, plan: Plan) -> Path | None:
        """Where what it downloads can be seen to grow."""
        ...

    def launched(
        self,
        plan: Plan,
        status: OperationStatus,
        *,
        ready: bool,
        way: Way = Way.FULL,
        startup: Startup | None = None,
    ) -> None:
        """Keeps how long the phases of a start took."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    settings: Settings
    deployments: Deployments
    journal: Journal
    plan: Planner
    plan_swap: SwapPlans
    plan_adoption: Callable[[str], Adoption]
    wait_for_memory: Callable[[Plan, Waiting, Way], str]
    history: History
    diagnose: Callable[[Deployment], Diagnosis]
    """Of its present or last run. Raises `EngineError`"""


class Held(Protocol):
    """The machine's lease, while it is this operation's."""

    def confirm(self) -> None:
        """Before each change. Raises `OperationFailed` when somebody else has it by now."""
        ...

    def give_back(self) -> None: ...

    def take(self) -> None:
        """Raises `Refused` while somebody else has it."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    tools: Tools
    request: Request
    record: Record
    lease: Held
    interrupted: Context | None = None
    """How all was before the operation that this one carries on with: what it goes back to if it fails"""

    def runtime(self, name: str) -> Runtime:
        return self.tools.deployments.runtimes[name]


def patiently(waiting: Waiting, call: Callable[[], Answer]) -> Answer:
    """What `call` answers; while the runtime is unreachable it is asked again, at most `PATIENCE_S`.

    `call` may thus be carried out more than once. Raises what it raises, and `Cancelled`.
    """
    deadline = 0.0
    while True:
        try:
            return call()
        except RuntimeUnreachable as error:
            deadline = deadline or time.monotonic() + PATIENCE_S  # what broke off may have gone on for an hour
            waiting.detail(f"waiting for it: {error.what}")
            if not waiting.until(deadline, PATIENCE_EVERY_S):
                raise


def take_again(lease: Held, waiting: Waiting | None = None, limit_s: float | None = None) -> None:
    """After it was given back. `limit_s`: how long others are waited for, `AGAIN_S` by itself.

    Raises `Refused` when somebody else has it and does not come to an end, `RuntimeUnreachable` when a runtime that is
    needed does not answer for `PATIENCE_S`, and `Cancelled`.
    """
    waiting = waiting or Waiting()
    deadline = time.monotonic() + (AGAIN_S if limit_s is None else limit_s)

    def take() -> None:
        try:
            lease.take()
        except (Refused, RuntimeUnreachable):
            lease.give_back()
            raise

    while True:
        try:
            return patiently(waiting, take)
        except Refused as error:
            waiting.detail(f"waiting for it: {error.what}")
            if not waiting.until(deadline, PATIENCE_EVERY_S):
                raise
