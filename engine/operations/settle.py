"""Settles an operation whose process is gone: what it began is carried to its end, or undone."""

from collections.abc import Callable
from dataclasses import replace

from engine.errors import NotFound, OperationFailed, Refused
from engine.operations.adopt import finish_adoption, undo_adoption
from engine.operations.finish_swap import finish_swap
from engine.operations.job import Job
from engine.operations.record import Context, RolledBack
from engine.operations.undo import undo
from engine.request import Action, Request
from engine.snapshot import OperationStatus, Outcome, Step, StepKind
from engine.store import Entry, Journal

Operation = Callable[[Job], str]
SETTLING = (Action.FINISH, Action.ROLL_BACK)


def settled_by(request: Request, journal: Journal) -> OperationStatus | None:
    """What a request finishes or rolls back, as far as the journal has it; None for another request."""
    found = None
    while request.action in SETTLING and (entry := journal.entry(request.name)):
        request, found = entry.request, entry.status
    return found


def settle_steps(job: Job) -> list[Step]:
    return [Step(StepKind.CHECK, "look what is left of it", subject=job.record.status.target)]


def settle(job: Job, carry_out: Operation) -> str:
    """What to tell the operator. `carry_out` runs a request as if it were asked for now."""
    named = _unsettled(job)
    entry = _begun(job, named)
    if entry is None:
        _mark(job, named.status, "settled")
        return f"Nothing is left to settle: what {named.status.title} was to settle has been settled."
    status = entry.status
    if since := _done_since(job, status):
        _mark(job, status, "overtaken")
        return f"Nothing is left to settle of {status.title}: {since.title} has been done since."
    job.record.change(plan_digest=status.plan_digest)
    with job.record.step(StepKind.CHECK) as waiting:
        context = _context(entry)
        waiting.detail(f"{status.title}, {'before' if context is None else 'after'} its first change")
    request = replace(
        entry.request,
        name=status.target,
        outgoing=status.outgoing,
        origin=job.request.origin,
        # What was accepted once, and is done in part, is not refused half way.
        force=entry.request.force or context is not None,
    )
    settling = replace(job, request=request, interrupted=context)
    try:
        if job.request.action is Action.FINISH:
            told, how = _finish(settling, entry, carry_out), "finished"
        else:
            told, how = _roll_back(settling, context, status), "rolled back"
    except RolledBack:
        _mark(job, status, "rolled back")
        raise
    _mark(job, status, how)
    return told


def _unsettled(job: Job) -> Entry:
    operation = job.request.name
    entry = job.tools.journal.entry(operation)
    if not entry:
        raise NotFound(f"The journal has no operation {operation}.", "`tritontui recover` shows those to be settled.")
    if not entry.status.unsettled:
        settled = entry.status.settled_by or entry.status.outcome.value
        raise Refused(f"There is nothing to settle about {entry.status.title}: it is {settled}.")
    return entry


def _begun(job: Job, entry: Entry) -> Entry | None:
    """What is to be settled: of an interrupted try to settle another, that other; None when it has been."""
    while entry.request.action in SETTLING:
        before = job.tools.journal.entry(entry.request.name)
        if not before or not before.status.unsettled:
            return None
        entry = before
    return entry


def _done_since(job: Job, status: OperationStatus) -> OperationStatus | None:
    """What it had begun is not what is there any more: that must be neither finished nor undone."""
    return next(
        (
            later
            for later in job.tools.journal.recent()
            if later.began_at > status.began_at
            and later.outcome is Outcome.DONE
            and later.kind not in SETTLING
            and set(later.subjects) & set(status.subjects)
        ),
        None,
    )


def _mark(job: Job, settled: OperationStatus, how: str) -> None:
    """And the tries to settle it that were themselves interrupted."""
    journal, ids = job.tools.journal, {settled.id}
    tries = [one for one in journal.recent() if one.unsettled and one.kind in SETTLING]
    while more := [one for one in tries if one.id not in ids and _settles(job, one) in ids]:
        ids |= {one.id for one in more}
    for status in (settled, *(one for one in tries if one.id in ids - {settled.id})):
        if not journal.settle(status, f"{how} by {job.request.origin}"):
            job.record.note(f"{journal.problem} {status.title} goes on being shown as interrupted.")


def _settles(job: Job, status: OperationStatus) -> str:
    entry = job.tools.journal.entry(status.id)
    return entry.request.name if entry else ""


def _context(entry: Entry) -> Context | None:
    """None when nothing had been changed yet."""
    if not entry.context:
        return None
    try:
        return Context.from_json(entry.context)
    except (ValueError, TypeError, KeyError) as error:
        raise OperationFailed(
            f"What the journal keeps of {entry.status.title} cannot be read: {error}.",
            "Look at its deployments, and start or stop them by hand.",
        ) from error


def _finish(job: Job, entry: Entry, carry_out: Operation) -> str:
    """Every operation looks at what there is: done a second time it does what is left of it."""
    request = job.request
    if job.interrupted is None:
        return carry_out(job)
    if job.interrupted.written:
        return finish_adoption(job, job.interrupted.written, carry_out)
    if request.action is Action.SWAP:
        return finish_swap(job, job.interrupted, carry_out)
    if request.action is Action.RESTART and _has_stopped(entry.status):
        return carry_out(replace(job, request=replace(request, action=Action.START)))
    if request.action in (Action.STOP, Action.REMOVE) and _is_gone(job, job.interrupted):
        return f"{request.name} is gone already."
    return carry_out(job)


def _has_stopped(status: OperationStatus) -> bool:
    return any(step.kind is StepKind.STOP and step.outcome is Outcome.DONE for step in status.steps)


def _roll_back(job: Job, context: Context | None, interrupted: OperationStatus) -> str:
    if context is None:
        return "Nothing had been changed."
    if context.written:
        return undo_adoption(job, context.written)
    if job.request.action is Action.REMOVE and _is_gone(job, context):
        raise Refused(f"{job.request.name} is removed, and its log with it.", "Start it anew from its profile.")
    return undo(job, context, f"{interrupted.title} was interrupted.")


def _is_gone(job: Job, context: Context) -> bool:
    """From where it was; that another runtime is silent says nothing about it."""
    return not any(job.tools.deployments.on(side.runtime, side.name) for side in context.outgoing)
