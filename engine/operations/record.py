"""The record of one operation: its steps as they happen, written to the journal and told to who listens."""

import getpass
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from engine.errors import EngineError
from engine.snapshot import OperationStatus, Outcome, Step, StepKind
from engine.store import Journal
from engine.text import clean_line, mask_secrets

Progress = Callable[[OperationStatus], None]


class Record:
    """Steps are known from the beginning, so that what is still to come can be shown."""

    def __init__(self, journal: Journal, kind: str, target: str, steps: Sequence[Step], progress: Progress) -> None:
        self._journal = journal
        self._progress = progress
        self.status = OperationStatus(
            id=uuid.uuid4().hex,
            kind=kind,
            target=target,
            steps=tuple(steps),
            began_at=time.time(),
            outcome=Outcome.RUNNING,
            owner=_owner(),
        )
        self._tell()

    @contextmanager
    def step(self, kind: StepKind) -> Iterator[Callable[[str], None]]:
        """Marks the step as under way, then as done or failed. Yields what sets its detail."""
        self._change(kind, outcome=Outcome.RUNNING, began_at=time.time())
        try:
            yield lambda detail: self._change(kind, detail=detail)
        except Abandoned:
            self._change(kind, outcome=Outcome.CANCELLED, ended_at=time.time())
            raise
        except EngineError:
            self._change(kind, outcome=Outcome.FAILED, ended_at=time.time())
            raise
        self._change(kind, outcome=Outcome.DONE, ended_at=time.time())

    def leave_out(self, kind: StepKind) -> None:
        """A step that this operation turns out not to have."""
        steps = tuple(step for step in self.status.steps if step.kind is not kind)
        if steps != self.status.steps:
            self.status = replace(self.status, steps=steps)
            self._tell()

    def finish(self, outcome: Outcome, message: str) -> None:
        now = time.time()
        # A step that something unforeseen ended, such as Ctrl+C, has no outcome of its own yet.
        steps = tuple(
            replace(step, outcome=outcome, ended_at=now) if step.outcome is Outcome.RUNNING else step
            for step in self.status.steps
        )
        self.status = replace(
            self.status, steps=steps, outcome=outcome, message=clean_line(mask_secrets(message)), ended_at=now
        )
        self._tell()

    def _change(self, kind: StepKind, **values: object) -> None:
        steps = tuple(replace(step, **values) if step.kind is kind else step for step in self.status.steps)  # type: ignore[arg-type]
        if steps != self.status.steps:
            self.status = replace(self.status, steps=steps)
            self._tell()

    def _tell(self) -> None:
        self._journal.write(self.status)
        self._progress(self.status)


class Abandoned(EngineError):
    """Nobody waits any longer; what was begun goes on, or was stopped by somebody else."""


def _owner() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = str(os.getuid())
    return clean_line(f"{user}@{socket.gethostname()}, pid {os.getpid()}")
