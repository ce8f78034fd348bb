"""Settles an operation whose process is gone: what it began is carried to its end, or undone."""

from collections.abc import Callable
from dataclasses import replace

from engine.deployment import Lifecycle
from engine.errors import NotFound, OperationFailed, Refused
from engine.operations import take_down
from engine.operations.bring_up import BringUp, ready_steps
from engine.operations.job import Job
from engine.operations.record import Context
from engine.operations.undo import undo
from engine.request import Action
from engine.snapshot import OperationStatus, Step, StepKind
from engine.stacks.placement import NO_CREDIT
from engine.store import Entry

Operation = Callable[[Job], str]


def settle_steps(job: Job) -> list[Step]:
    return [Step(StepKind.CHECK, "look what is left of it", subject=job.request.name)]


def settle(job: Job, carry_out: Callable[[Job], str]) -> str:
    """What to tell the operator. `carry_out` runs a request as if it were asked for now."""
    entry = _unsettled(job)
    status = entry.status
    job.record.change(target=status.target, outgoing=status.outgoing, plan_digest=status.plan_digest)
    with job.record.step(StepKind.CHECK) as waiting:
        context = _context(entry)
        waiting.detail(f"{status.title}, {'before' if context is None else 'after'} its first change")
    request = replace(
        entry.request,
        name=status.target,
        outgoing=status.outgoing,
        origin=job.request.origin,
        force=True,  # it was accepted once, and part of it has been done
    )
    if job.request.action is Action.FINISH:
        told = _finish(replace(job, request=request), context, carry_out)
        how = "finished"
    else:
        told = _roll_back(replace(job, request=request), context, status)
        how = "rolled back"
    job.tools.journal.settle(status, f"{how} by {job.request.origin}")
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


def _finish(job: Job, context: Context | None, carry_out: Operation) -> str:
    """Every operation looks at what there is: done a second time it does what is left of it."""
    request = job.request
    if context and request.action is Action.SWAP:
        return _finish_swap(job, context, carry_out)
    if context and request.action is Action.RESTART:
        return carry_out(replace(job, request=replace(request, action=Action.START)))
    if context and request.action is Action.REMOVE and not job.tools.deployments.locate(request.name):
        return f"{request.name} is removed already."
    return carry_out(job)


def _finish_swap(job: Job, context: Context, carry_out: Operation) -> str:
    request = job.request
    found = job.tools.deployments.locate(request.name)
    if not found or found[1].lifecycle is not Lifecycle.RUNNING:
        return carry_out(job)
    # The incoming one runs: all that is left is to see that it answers, and that the outgoing is stopped.
    running = [
        side
        for side in context.outgoing
        if (now := job.tools.deployments.on(side.runtime, side.name)) and now.lifecycle is Lifecycle.RUNNING
    ]
    job.record.set_steps([take_down.stop_step(side.name) for side in running])
    for side in running:
        take_down.stop(job, side)
    plan = job.tools.plan(request.name, found[0].name, NO_CREDIT)
    job.record.set_steps(
        [
            *ready_steps(request.name),
            *(Step(StepKind.LET_GO, "let go", subject=side.name) for side in context.outgoing),
        ]
    )
    BringUp(job, plan, found).wait(request.timeout_s, always_prompt=True)
    for side in context.outgoing:
        take_down.let_go(job, side)
    return f"{request.name} serves at {found[1].service.http}."


def _roll_back(job: Job, context: Context | None, interrupted: OperationStatus) -> str:
    if context is None:
        return "Nothing had been changed."
    if job.request.action is Action.REMOVE and not job.tools.deployments.locate(job.request.name):
        raise Refused(f"{job.request.name} is removed, and its log with it.", "Start it anew from its profile.")
    return undo(job, context, f"{interrupted.title} was interrupted.")
