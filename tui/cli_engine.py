"""What the commands ask of the engine."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from engine.inference.prompt import PromptEvent, PromptRequest, PromptResult
from engine.log_line import LogLine
from engine.plan import Adoption, Plan, SwapPlan
from engine.request import Request
from engine.snapshot import AuditEntry, GpuReading, LeaseStatus, MetricsReading, OperationStatus, Snapshot


class Performer(Protocol):
    """What a command that changes something needs: it begins before the rest of the engine would be imported."""

    def perform(self, request: Request, progress: Callable[[OperationStatus], None], /) -> OperationStatus:
        """Raises only when it could not even be begun; how it ended is in the status.

        What `progress` raises comes out of it, as KeyboardInterrupt does, and the operation goes on.
        """
        ...


class Engine(Performer, Protocol):
    """`engine.facade.Engine`, as far as the commands need it. Every call blocks and raises `EngineError`."""

    def survey(self) -> Snapshot: ...
    def plan(self, name: str, runtime: str | None = None) -> Plan: ...
    def plan_swap(
        self, name: str, outgoing: tuple[str, ...] = (), *, full: bool = False, runtime: str | None = None
    ) -> SwapPlan: ...
    def plan_adoption(self, name: str) -> Adoption: ...

    def follow(self, operation: str, progress: Callable[[OperationStatus], None] | None = None) -> OperationStatus: ...
    def cancel(self, operation: str) -> None: ...
    def operations(self) -> tuple[OperationStatus, ...]: ...
    def history(
        self, limit: int = 200, *, name: str | None = None, since: float | None = None
    ) -> Sequence[AuditEntry]: ...
    def lease(self) -> LeaseStatus | None: ...

    def read_log(
        self, name: str, *, tail: int | None, follow: bool, since: float | None = None
    ) -> Generator[LogLine, None, None]: ...
    def scrape(self, name: str) -> MetricsReading: ...
    def gpus(self) -> GpuReading: ...
    def ask_blocking(
        self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]
    ) -> PromptResult: ...
    def close(self) -> None: ...
