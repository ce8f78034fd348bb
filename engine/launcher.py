"""Begins operations, each in a process of its own that outlives this one, and follows and cancels those under way."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO

from engine.errors import Exit, NotFound, OperationFailed, Refused
from engine.operation_json import from_json
from engine.request import Request
from engine.settings import Settings, refuse_read_only
from engine.snapshot import OperationStatus, Outcome
from engine.store import Entry, Journal
from engine.text import clean_line

FOLLOW_EVERY_S = 0.2
READ_S = 10.0
"""How long a journal that cannot be read is asked again"""
LAST_LINES = 3
Listener = Callable[[OperationStatus], None]


class Launcher:
    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal

    def begin(self, request: Request, listener: Listener) -> str:
        """Returns the operation's id. `listener` is told its status, the outcome always last, from another thread.

        Raises `Refused` when nothing may be changed, and `OperationFailed` when no process can be started.
        """
        refuse_read_only(self._settings, f"{request.action.value} {clean_line(request.name)}")
        operation = uuid.uuid4().hex
        order = {"operation": operation, "request": request.to_json(), "settings": self._settings.to_json()}
        # In memory: a full disk must not keep anybody from stopping a server.
        errors = os.fdopen(os.memfd_create("errors"), "w+b")
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            errors.close()
            raise OperationFailed(f"No process could be started for the operation: {error}.") from error
        _give(process, json.dumps(order))  # here: the operation is begun, though this process may end at once
        threading.Thread(target=self._read, args=(process, errors, request, operation, listener), daemon=True).start()
        return operation

    def perform(self, request: Request, listener: Listener) -> OperationStatus:
        """Blocks until it has ended; `listener` is called in this thread. KeyboardInterrupt leaves it going on."""
        statuses: queue.SimpleQueue[OperationStatus] = queue.SimpleQueue()
        self.begin(request, statuses.put)
        while True:
            status = statuses.get()
            listener(status)
            if status.outcome is not Outcome.RUNNING:
                return status

    def follow(self, operation: str, listener: Listener) -> OperationStatus:
        """Attaches to one under way, whoever began it, and blocks until it has ended.

        Raises `NotFound`, and `OperationFailed` when the journal cannot be read any more.
        """
        last: OperationStatus | None = None
        while True:
            entry = self._entry(operation)
            if not entry:
                raise NotFound(f"The journal has no operation {clean_line(operation)}.")
            if entry.status != last:
                last = entry.status
                listener(last)
            if last.outcome is not Outcome.RUNNING:
                return last
            time.sleep(FOLLOW_EVERY_S)

    def cancel(self, operation: str) -> None:
        """Asks it to roll back. Raises what `follow` raises, and `Refused` when it cannot be cancelled (any more)."""
        refuse_read_only(self._settings, "cancelling")
        entry = self._entry(operation)
        if not entry:
            raise NotFound(f"No operation {clean_line(operation)} of this user is under way.")
        if entry.status.outcome is not Outcome.RUNNING:
            raise NotFound(f"{entry.status.title} has ended already: {entry.status.outcome.value}.")
        if entry.status.rolling_back:
            raise Refused(f"{entry.status.title} is being rolled back already.", "Wait until that is done.")
        try:
            os.kill(entry.status.pid, signal.SIGTERM)
        except ProcessLookupError:
            raise NotFound(f"{entry.status.title} has just ended.") from None
        except PermissionError:
            raise Refused(
                f"{entry.status.title} is carried out by {entry.status.owner}.", "Only they or root can cancel it."
            ) from None

    def _entry(self, operation: str) -> Entry | None:
        """None when the journal has none of that id. What holds it, such as a backup, is waited for.

        Raises `OperationFailed` when it cannot be read for so long.
        """
        deadline = time.monotonic() + READ_S
        while True:
            entry = self._journal.entry(operation)
            if entry or not (problem := self._journal.problem):
                return entry
            if time.monotonic() > deadline:
                raise OperationFailed(problem, "The operation itself goes on.")
            time.sleep(FOLLOW_EVERY_S)

    def _read(
        self,
        process: subprocess.Popen[str],
        errors: IO[bytes],
        request: Request,
        operation: str,
        listener: Listener,
    ) -> None:
        latest: OperationStatus | None = None
        with errors:
            for status in _statuses(process):
                latest = status
                listener(status)
            process.wait()
            if latest is None or latest.outcome is Outcome.RUNNING:
                listener(self._left(latest, request, operation, process.returncode, errors))

    def _left(
        self,
        latest: OperationStatus | None,
        request: Request,
        operation: str,
        code: int,
        errors: IO[bytes],
    ) -> OperationStatus:
        """Its process has ended without an outcome."""
        entry = None
        with contextlib.suppress(OperationFailed):  # what it told is known all the same
            entry = self._entry(operation)
        known = entry.status if entry else latest
        if known and known.outcome not in (Outcome.RUNNING, Outcome.INTERRUPTED):
            return known  # it told the journal only
        errors.seek(0)
        lines = [line for line in errors.read().decode(errors="replace").splitlines() if line.strip()]
        said = f" It said: {clean_line(' '.join(lines[-LAST_LINES:]))}" if lines else ""
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        message = f"The operation's process {how} and left no outcome.{said}"
        if known is None:
            failed = replace(self._about(request, operation), message=message, exit_code=Exit.FAILED)
            return replace(failed, ended_at=failed.began_at)
        remains = self._remains(entry) if entry else ""
        message = " ".join(
            text for text in (message, remains, "`tritontui recover` finishes it or rolls it back.") if text
        )
        steps = tuple(
            replace(step, outcome=Outcome.INTERRUPTED) if step.outcome is Outcome.RUNNING else step
            for step in known.steps
        )
        return replace(known, outcome=Outcome.INTERRUPTED, message=message, steps=steps, exit_code=Exit.FAILED)

    def _about(self, request: Request, operation: str) -> OperationStatus:
        """Of one that has told nothing."""
        from engine.operations.settle import settled_by  # as in _remains

        settles = settled_by(request, self._journal)
        return OperationStatus(
            id=operation,
            kind=request.action.value,
            target=settles.target if settles else clean_line(request.name),
            steps=(),
            began_at=time.time(),
            outcome=Outcome.FAILED,
            owner=str(request.origin),
            outgoing=settles.outgoing if settles else tuple(map(clean_line, request.outgoing)),
        )

    def _remains(self, entry: Entry) -> str:
        # What this loads is needed for nothing else here.
        from engine.deployments import Deployments
        from engine.operations.remains import what_remains
        from engine.runtimes import RUNTIMES

        return what_remains(Deployments({name: make(self._settings) for name, make in RUNTIMES.items()}), entry)


def _give(process: subprocess.Popen[str], order: str) -> None:
    assert process.stdin is not None  # noqa: S101
    # One that has ended already has said why.
    with contextlib.suppress(OSError), process.stdin as stdin:
        stdin.write(f"{order}\n")


def _statuses(process: subprocess.Popen[str]) -> Iterator[OperationStatus]:
    assert process.stdout is not None  # noqa: S101
    with process.stdout as lines:
        for line in lines:
            try:
                status = from_json(line)
            except (ValueError, TypeError, KeyError):
                continue  # cut off: it was killed while it wrote, and the journal knows the rest
            yield status
