"""What a screen or a script may ask of the engine.

`engine.facade.Engine` is the real one; tests of screens inject theirs.

Nothing here blocks unless its docstring says so; callbacks come from the engine's own threads.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine.diagnosis import Change, Diagnosis
from engine.finding import Finding
from engine.freshness import Freshness
from engine.log_line import LogLine, LogMark
from engine.metrics_reading import Family, MetricsReading, Series
from engine.request import Request
from engine.snapshot import AuditEntry, Snapshot

if TYPE_CHECKING:  # the first paint needs neither
    from engine.inference.offer import Offer
    from engine.inference.prompt import PromptEvent, PromptRequest, Transport
    from engine.load_plan import LoadPlan
    from engine.load_result import LoadEvent, LoadResult
    from engine.plan import Adoption, Plan, SwapPlan
    from engine.prompt_record import KeptPrompt, SavedPrompt


@dataclass(frozen=True, slots=True)
class ProfileSource:
    path: Path
    text: str
    """Cleaned of control sequences"""
    shipped: bool
    """It came with tritontui: to be duplicated rather than edited"""


class LogFeed(Protocol):
    """A log that is being read in the background into a bounded buffer. Safe to use from the event loop.

    The last line may be unfinished: its text can still change, and `end` can step back by one.
    """

    @property
    def first(self) -> int:
        """Number of the oldest line kept; lines before it were dropped."""
        ...

    @property
    def end(self) -> int:
        """Number of the line that comes next; `end - first` lines are kept."""
        ...

    @property
    def freshness(self) -> Freshness: ...

    @property
    def message(self) -> str:
        """Why it is stale, failed or ended; empty while it is fresh."""
        ...

    def line(self, seq: int) -> LogLine:
        """Raises IndexError for a line that is not kept."""
        ...

    def lines(self, start: int, stop: int) -> Sequence[LogLine]:
        """The kept ones among `start <= seq < stop`."""
        ...

    @property
    def marks(self) -> Sequence[LogMark]:
        """Places worth jumping to among the kept lines, in their order; at most some thousands."""
        ...

    def close(self) -> None: ...


class Cancel(Protocol):
    def __call__(self) -> None:
        """Stops what was begun, soon; more than once is harmless."""
        ...


class EngineApi(Protocol):
    def open(self) -> None:
        """Begins to observe."""
        ...

    def close(self) -> None:
        """Stops observing; deployments and operations go on. Blocks for at most a second."""
        ...

    def subscribe(self, listener: Callable[[Snapshot], None]) -> Cancel:
        """Calls `listener` with each new snapshot."""
        ...

    def plan(self, name: str, runtime: str | None = None) -> "Plan":
        """What starting the profile would do. Blocks (reads files, tries ports). Raises `EngineError`."""
        ...

    def plan_swap(self, name: str, outgoing: tuple[str, ...] = (), *, full: bool = False) -> "SwapPlan":
        """What a swap to the profile would do; `outgoing` empty: to what holds its GPUs or ports.

        Blocks. Raises `EngineError`, and `Refused` when there is nothing to swap or it is unclear what is to go.
        """
        ...

    def plan_adoption(self, name: str) -> "Adoption":
        """What adopting a foreign container would make of it. Blocks. Raises `EngineError`."""
        ...

    def submit(self, request: Request) -> None:
        """Begins an operation, which goes on in a process of its own whatever becomes of this one.

        The snapshots show its steps and how it ended, refusal included.
        """
        ...

    def cancel(self, operation: str) -> None:
        """Asks an operation under way, by its id, to stop and roll back. Blocks shortly.

        Raises `NotFound` when none of that id is under way, `Refused` when it is another user's.
        """
        ...

    def history(self, limit: int = 200) -> Sequence[AuditEntry]:
        """What was done on this machine, newest first. Blocks. Raises `EngineError`."""
        ...

    def profile_source(self, name: str) -> ProfileSource:
        """The file that the profile is read from. Blocks. Raises `EngineError`."""
        ...

    def duplicate(self, name: str, new_name: str) -> Path:
        """Writes a copy under the new name, into the user's folder of profiles, comments kept. Blocks.

        Returns the new file. Raises `Refused` when that name is taken, and other `EngineError`s.
        """
        ...

    def open_log(self, name: str, changed: Callable[[], None], *, tail: int | None = None) -> LogFeed:
        """Reads the deployment's log. `changed` is called, at most about 20 times a second, when there is more.

        It may be called before this returns.

        Raises `NotFound` when no deployment of that name is known.
        """
        ...

    def metrics(self, name: str) -> MetricsReading:
        """The latest metrics of a deployment, with their histories of at most an hour."""
        ...

    def families(self, name: str) -> Sequence[Family]:
        """All that the deployment's endpoint reported last, by name, and what is pinned and was not reported.

        Without the former while it has reported nothing.
        """
        ...

    def pin(self, name: str, family: str, *, pinned: bool) -> None:
        """Whether a family is among the deployment's series (`Group.PINNED`), from its next scrape on.

        It is kept with the history. Blocks shortly. Raises `NotFound` when one is to be pinned that is not reported.
        """
        ...

    def gpu_history(self, index: int) -> Sequence[Series]:
        """Utilization, memory, power, temperature and traffic of a GPU, of at most an hour."""
        ...

    def ask(self, name: str, request: "PromptRequest", on_event: "Callable[[PromptEvent], None]") -> Cancel:
        """Sends one prompt. Tokens and, always last, the result come to `on_event`; the run is kept.

        Raises `NotFound`, and `OperationFailed` when it does not run.
        """
        ...

    def offer(self, name: str, transport: "Transport | None" = None) -> "Offer":
        """What can be asked of the deployment, as its server says. Blocks for seconds. Raises `EngineError`."""
        ...

    def kept_prompts(self, name: str | None = None, limit: int = 200) -> "Sequence[KeptPrompt]":
        """Earlier runs, newest first; None: of all deployments. Blocks shortly. Raises `EngineError`."""
        ...

    def saved_prompts(self) -> "Sequence[SavedPrompt]":
        """By name. Blocks (reads files). Files that are wrong are left out. Raises `EngineError`."""
        ...

    def save_prompt(self, prompt: "SavedPrompt", *, overwrite: bool = False) -> Path:
        """Into the user's folder of prompts. Blocks. Raises `Refused` when that name is taken, other `EngineError`s."""
        ...

    def load(self, name: str, plan: "LoadPlan", on_event: "Callable[[LoadEvent], None]") -> Cancel:
        """Begins a load test, in a process of its own; the events come on the engine's thread, the result last.

        Cancelling ends it soon, with a result of what was measured. It ends with this engine. The result is kept,
        unless it came to nothing.
        Raises `NotFound`, `OperationFailed` when it does not run, and `Refused` where nothing may be changed.
        """
        ...

    def loads(self, name: str | None = None, limit: int = 100) -> "Sequence[LoadResult]":
        """Kept results, newest first. Blocks shortly. Raises `EngineError`."""
        ...

    def export_load(self, result: "LoadResult", path: Path) -> int:
        """Writes it as its suffix says: json, csv (of all requests), svg, html. Blocks. Raises `EngineError`.

        How many requests a JSON or CSV file lacks, because they are not kept (any more): of tests that could not be
        kept those of the last one are at hand.
        """
        ...

    def diagnose(self, name: str) -> Diagnosis:
        """Why the deployment failed, from its log, or the kept one when it is gone, and what its runtime tells.

        Blocks (reads the log). Raises `NotFound` when there is neither, and other `EngineError`s.
        """
        ...

    def with_changes(self, name: str, changes: Sequence[Change]) -> str:
        """The profile's text as it would be with the changes, comments kept. Blocks. Raises `EngineError`."""
        ...

    def write_changed(self, name: str, new_name: str, changes: Sequence[Change]) -> Path:
        """Writes a copy of the profile with the changes, as `duplicate` does. Blocks. Raises `EngineError`."""
        ...

    def doctor(self, found: Callable[[Finding], None]) -> Sequence[Finding]:
        """Looks over the machine; `found` is told each finding as it comes. Blocks for seconds. Changes nothing."""
        ...
