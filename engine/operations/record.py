"""The record of one operation: its steps as they happen, written to the journal and told to who listens."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

from engine.errors import EngineError, Exit, Refused
from engine.operations.waiting import Cancelled, Waiting
from engine.plan import SwapPlan
from engine.request import Request, Way
from engine.snapshot import OperationStatus, Outcome, Step, StepKind
from engine.store import Entry, Journal
from engine.text import clean_line, mask_secrets

Progress = Callable[[OperationStatus], None]


@dataclass(frozen=True, slots=True)
class Side:
    """A deployment as it was before the operation changed anything."""

    name: str
    runtime: str
    id: str = ""
    """Empty when there was none: one that is there later was made by the operation"""
    running: bool = False
    made_as: str = ""
    """The deployment as which its server was started, where that is another"""


@dataclass(frozen=True, slots=True)
class Written:
    """The profile that an adoption writes."""

    name: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Context:
    """What it takes to finish an operation or to roll it back, whoever does it."""

    incoming: Side | None = None
    outgoing: tuple[Side, ...] = ()
    way: Way = Way.FULL
    written: Written | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Context":
        """Raises ValueError, TypeError or KeyError when the text is not what `to_json` writes."""
        data = json.loads(text)
        incoming = Side(**data["incoming"]) if data["incoming"] else None
        written = Written(**data["written"]) if data["written"] else None
        return cls(incoming, tuple(Side(**side) for side in data["outgoing"]), Way(data["way"]), written)


@dataclass(slots=True)
class Record:
    """Steps are known from the beginning, so that what is still to come can be shown."""

    journal: Journal
    request: Request
    id: str
    steps: Sequence[Step]
    progress: Progress = lambda _: None
    cancelled: threading.Event = field(default_factory=threading.Event)
    context: Context | None = None
    settles: OperationStatus | None = None
    """What it finishes or rolls back"""
    status: OperationStatus = field(init=False)

    def __post_init__(self) -> None:
        """Raises `Refused` when a change that could be rolled back cannot be recorded."""
        self.status = OperationStatus(
            id=self.id,
            kind=self.request.action.value,
            target=self.settles.target if self.settles else clean_line(self.request.name),
            steps=tuple(self.steps),
            began_at=time.time(),
            outcome=Outcome.RUNNING,
            owner=str(self.request.origin),
            outgoing=self.settles.outgoing if self.settles else tuple(map(clean_line, self.request.outgoing)),
            pid=os.getpid(),
        )
        self._tell()

    def require_journal(self) -> None:
        """Raises `Refused` when what is about to be done could not be recovered from."""
        if not self._tell():
            raise Refused(
                f"{self.journal.problem.rstrip('.')}. What is not recorded could not be rolled back after a crash.",
                "Make room or mend its permissions, or choose another folder with TRITONTUI_STATE_DIR.",
            )

    def has_planned(self, plan: SwapPlan) -> None:
        names = tuple(one.name for one in plan.outgoing)
        self.status = replace(self.status, outgoing=names, plan_digest=plan.digest)

    def change(self, **values: object) -> None:
        """Of the status, e.g. its estimate."""
        self.status = replace(self.status, **values)  # type: ignore[arg-type]
        self._tell()

    def keep(self, context: Context) -> None:
        """Before anything is changed: what it takes to undo it."""
        self.context = context
        self._tell()

    def note(self, text: str) -> None:
        self.change(notes=(*self.status.notes, clean_line(mask_secrets(text))))

    @contextmanager
    def step(self, kind: StepKind, subject: str | None = None) -> Iterator[Waiting]:
        """The next step of this kind that has not begun, under way, then done or failed.

        Yields what it waits with; what rolls back cannot be cancelled. Raises `Cancelled` before it begins.
        """
        index = self._index(kind, subject)
        undo = self.status.steps[index].undo
        to_its_end = undo or kind is StepKind.LET_GO  # nothing is left to roll back
        if self.cancelled.is_set() and not to_its_end and not self.status.cancelled:
            self.change(cancelled=True)
        waiting = Waiting(
            lambda detail: self._change(index, detail=clean_line(mask_secrets(detail))),
            threading.Event() if to_its_end else self.cancelled,
        )
        waiting.check()
        self._change(index, outcome=Outcome.RUNNING, began_at=time.time())
        try:
            yield waiting
        except Cancelled:
            self._change(index, outcome=Outcome.CANCELLED, ended_at=time.time())
            self.change(cancelled=True)
            raise
        except BaseException:
            self._change(index, outcome=Outcome.FAILED, ended_at=time.time())
            raise
        self._change(index, outcome=Outcome.DONE, ended_at=time.time())

    def _index(self, kind: StepKind, subject: str | None) -> int:
        return next(
            index
            for index, step in enumerate(self.status.steps)
            if step.kind is kind and step.outcome is None and subject in (None, step.subject)
        )

    def set_steps(self, steps: Sequence[Step]) -> None:
        """What is still to come, in place of what was thought to come; what has begun stays."""
        begun = tuple(step for step in self.status.steps if step.outcome is not None)
        self.change(steps=(*begun, *steps))

    def insert(self, step: Step) -> None:
        """What turned out to be needed, before all that has not begun."""
        begun = sum(one.outcome is not None for one in self.status.steps)
        self.set_steps([step, *self.status.steps[begun:]])

    def leave_out(self, kind: StepKind) -> None:
        """Steps that this operation turns out not to have."""
        steps = tuple(step for step in self.status.steps if step.kind is not kind or step.outcome is not None)
        if steps != self.status.steps:
            self.change(steps=steps)

    def finish(self, outcome: Outcome, message: str, exit_code: int) -> None:
        now = time.time()
        # A step that something unforeseen ended has no outcome of its own yet.
        steps = tuple(
            replace(step, outcome=Outcome.FAILED, ended_at=now) if step.outcome is Outcome.RUNNING else step
            for step in self.status.steps
        )
        self.status = replace(
            self.status,
            steps=steps,
            outcome=outcome,
            message=clean_line(mask_secrets(message)),
            ended_at=now,
            exit_code=exit_code,
        )
        if not self._write():
            unrecorded = f"{self.journal.problem} How this ended is not recorded: it will be shown as interrupted."
            self.status = replace(self.status, notes=(*self.status.notes, unrecorded))
        self.progress(self.status)

    def _change(self, index: int, **values: object) -> None:
        steps = list(self.status.steps)
        steps[index] = replace(steps[index], **values)  # type: ignore[arg-type]
        if tuple(steps) != self.status.steps:
            self.change(steps=tuple(steps))

    def _tell(self) -> bool:
        written = self._write()
        self.progress(self.status)
        return written

    @property
    def entry(self) -> Entry:
        return Entry(self.status, self.request, self.context.to_json() if self.context else "")

    def _write(self) -> bool:
        return self.journal.write(self.entry)


class RolledBack(EngineError):
    """It did not succeed, and all is again as it was before."""

    exit_code = Exit.FAILED


class Ended(EngineError):
    """A start that somebody else has stopped meanwhile: there is nothing to wait for, and nothing to undo."""
