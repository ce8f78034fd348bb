"""Carries out operations, in the process that is theirs: under the machine's lease, recorded, to a named end."""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace

from engine.errors import EngineError, Exit, OperationFailed
from engine.lease import LEASE, Holder
from engine.operations import adopt, settle, start, swap
from engine.operations.job import Job, Tools
from engine.operations.lease import held
from engine.operations.record import Ended, Progress, Record, RolledBack
from engine.operations.remains import what_remains
from engine.operations.waiting import Cancelled
from engine.request import Action, Request
from engine.settings import refuse_read_only
from engine.snapshot import AuditEntry, OperationStatus, Outcome, Step

Writer = Callable[[AuditEntry], None]

_OPERATIONS: dict[Action, tuple[Callable[[Job], list[Step]], Callable[[Job], str]]] = {
    Action.START: (start.start_steps, start.start),
    Action.STOP: (start.stop_steps, start.stop),
    Action.RESTART: (start.restart_steps, start.restart),
    Action.REMOVE: (start.remove_steps, start.remove),
    Action.SWAP: (swap.check_steps, swap.swap),
    Action.ADOPT: (adopt.adopt_steps, adopt.adopt_foreign),
}


class Conductor:
    def __init__(self, tools: Tools, audit: Writer, *, lease_record: str = LEASE) -> None:
        self._tools = tools
        self._audit = audit
        self._lease_record = lease_record

    def run(
        self,
        request: Request,
        *,
        operation: str | None = None,
        progress: Progress = lambda _: None,
        cancelled: threading.Event | None = None,
    ) -> OperationStatus:
        """Blocks until the operation has ended; how, is in what it returns. `operation`: the id it is to have."""
        record = Record(
            journal=self._tools.journal,
            request=request,
            id=operation or uuid.uuid4().hex,
            steps=(),
            progress=progress,
            cancelled=cancelled or threading.Event(),
            settles=settle.settled_by(request, self._tools.journal),
        )
        began = time.monotonic()
        try:
            self._write_audit(record, "began", 0.0)
            message = self._carry_out(record, request)
        except RolledBack as error:
            record.finish(Outcome.ROLLED_BACK, str(error), error.exit_code)
        except Ended as error:
            record.finish(Outcome.ROLLED_BACK, str(error), Exit.FAILED)
        except Cancelled as error:  # where there is anything to undo, its operation has done so
            record.finish(Outcome.ROLLED_BACK, f"{error} Nothing was changed.", error.exit_code)
        except EngineError as error:
            record.finish(Outcome.FAILED, str(error), error.exit_code)
        except BaseException as error:
            what = f"It broke off unexpectedly ({type(error).__name__}: {error})."
            remains = what_remains(self._tools.deployments, record.entry)
            record.finish(Outcome.FAILED, f"{what} {remains}".rstrip(), Exit.FAILED)
            self._write_audit(record, Outcome.FAILED.value, time.monotonic() - began)
            raise
        else:
            record.finish(Outcome.DONE, message, Exit.DONE)
        refused = record.status.exit_code == Exit.REFUSED
        self._write_audit(record, "refused" if refused else record.status.outcome.value, time.monotonic() - began)
        return record.status

    def _carry_out(self, record: Record, request: Request) -> str:
        refuse_read_only(self._tools.settings, self._title(request, record))
        if request.action is not Action.ADOPT:
            self._tools.deployments.check_name(request.name)
        for status in self._tools.journal.recent():
            if status.unsettled and status.id != request.name:
                record.note(f"{status.title} was interrupted and is not settled yet: see `tritontui recover`.")
        holder = Holder.this_process(self._title(request, record), record.id, request.origin)
        runtimes = self._tools.deployments.runtimes
        with held(runtimes, holder, record.note, needed=self._needed(request), name=self._lease_record) as lease:
            job = Job(self._tools, request, record, lease)
            if request.action in (Action.FINISH, Action.ROLL_BACK):
                record.set_steps(settle.settle_steps(job))
                return settle.settle(job, self._perform)
            record.set_steps(_OPERATIONS[request.action][0](job))
            return _OPERATIONS[request.action][1](job)

    def _perform(self, job: Job) -> str:
        steps, operation = _OPERATIONS[job.request.action]
        job.record.set_steps(steps(job))
        return operation(job)

    def _needed(self, request: Request) -> set[str]:
        """The runtimes without whose lease nothing is begun. To stop something is always better than not to."""
        if request.action in (Action.STOP, Action.REMOVE):
            return set()
        found = {request.runtime} if request.runtime else set()
        for name in (request.name, *request.outgoing):
            with contextlib.suppress(EngineError):  # whoever needs it finds the same, with the sentence
                if place := self._tools.deployments.locate(name):
                    found.add(place[0].name)
        return found

    def _title(self, request: Request, record: Record) -> str:
        if request.action not in (Action.FINISH, Action.ROLL_BACK):
            return record.status.title
        entry = self._tools.journal.entry(request.name)
        return f"{request.action.value} {entry.status.title}" if entry else record.status.title

    def _write_audit(self, record: Record, event: str, seconds: float) -> None:
        """A change that cannot be audited is told; whether that stops anybody is not for a full disk to say."""
        status, origin = record.status, record.request.origin
        entry = AuditEntry(
            at=time.time(),
            user=origin.user,
            host=origin.host,
            address=origin.address,
            via=origin.via,
            operation=status.id,
            event=event,
            what=status.title,
            plan_digest=status.plan_digest,
            seconds=None if event == "began" else round(seconds, 3),
            message=status.message if event != "began" else "",
        )
        try:
            self._audit(entry)
        except OperationFailed as error:
            if status.outcome is Outcome.RUNNING:
                record.note(str(error))
            else:
                record.status = replace(status, notes=(*status.notes, str(error)))
