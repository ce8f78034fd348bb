"""Swap: one model goes out of service, another comes in, and whatever happens one of them serves."""

from dataclasses import replace

from engine.deployment import Lifecycle
from engine.errors import EngineError, OperationFailed, Refused
from engine.operations import swap_ways, take_down
from engine.operations.bring_up import BringUp, check_again_step, check_step, refuse_obstacles, replaced_step
from engine.operations.job import Job
from engine.operations.record import Context, Side
from engine.operations.undo import undone
from engine.plan import Outgoing, SwapPlan
from engine.request import Way
from engine.snapshot import Step, StepKind


def check_steps(job: Job) -> list[Step]:
    return [check_step(job.request.name)]


def swap(job: Job) -> str:
    """What to tell the operator. Raises `RolledBack` when the outgoing serves again."""
    record, request = job.record, job.request
    plan, one = _checked(job)
    if one.fetches:
        record.insert(check_again_step(request.name))
        _fetch(job, one)
        plan, one = _checked(job, agreed=plan)
    sides = tuple(_side(job, out) for out in plan.outgoing)
    context = Context(one.before, sides, plan.way)
    before = _before(job, context)
    record.keep(before)
    try:
        serving = swap_ways.carry_out(job, plan, context, one)
    except BaseException as error:
        # What nobody foresaw, too, must not end with nobody serving.
        job.tools.history.launched(plan.incoming, record.status, ready=False, way=plan.way, startup=one.startup)
        raise undone(job, before, error) from error
    job.tools.history.launched(plan.incoming, record.status, ready=True, way=plan.way, startup=one.startup)
    if plan.way is not Way.LOAD:
        one.let_go()
    try:
        for side in context.outgoing:
            take_down.let_go(job, side, plan.way)
    except EngineError as error:
        raise OperationFailed(f"{request.name} serves. What it replaced could not be let go: {error}") from error
    names = " and ".join(side.name for side in context.outgoing)
    way = Way.LOAD if one.late and len(sides) == 1 else plan.way
    gone = f"{'is' if len(sides) == 1 else 'are'} {take_down.gone_word(way, removed=request.remove_outgoing)}"
    return f"{request.name} serves at {serving.service.http}; {names} {gone}."


def _steps(plan: SwapPlan, one: BringUp) -> list[Step]:
    steps = swap_ways.steps(plan, late=one.late)
    if not one.replaces or plan.way is Way.LOAD:
        return steps
    last = next(index for index, step in enumerate(steps) if step.kind is StepKind.LET_GO)
    return [*steps[:last], replaced_step(plan.incoming.launch.name), *steps[last:]]


def _before(job: Job, now: Context) -> Context:
    """What to go back to. Only in a server that runs is it undone in another way than all else."""
    if not job.interrupted:
        return now
    return replace(job.interrupted, way=Way.LOAD) if now.way is Way.LOAD else job.interrupted


def _checked(job: Job, agreed: SwapPlan | None = None) -> tuple[SwapPlan, BringUp]:
    """Everything that can be known to go wrong is refused while the outgoing still serves.

    `agreed`: as it was planned before the image was fetched, while others could change this machine.
    """
    record, request = job.record, job.request
    with record.step(StepKind.CHECK) as waiting:
        plan = job.tools.plan_swap(request.name, request.outgoing, request.runtime, full=request.full)
        if agreed and (other := sorted({out.name for out in plan.outgoing} - {out.name for out in agreed.outgoing})):
            raise Refused(
                f"While the image was fetched this machine was changed: {' and '.join(other)} would have to go now.",
                f"The image is here. Look at `tritontui plan {request.name} --swap`, and swap again.",
            )
        record.has_planned(plan)
        record.require_journal()
        if not request.force:
            refuse_obstacles(plan.incoming)
        one = _made_ready(job, plan)
        record.change(estimate=job.tools.history.expect(plan.incoming, plan.way))
        record.set_steps(_steps(plan, one))
        waiting.detail(plan.reason)
    return plan, one


def _fetch(job: Job, one: BringUp) -> None:
    try:
        one.fetch()
    except BaseException as error:
        if job.interrupted:  # nobody may serve
            raise undone(job, job.interrupted, error) from error
        raise


def _side(job: Job, out: Outgoing) -> Side:
    there = job.tools.deployments.on(out.runtime, out.name)
    return Side(out.name, out.runtime, out.id, out.running, there.made_as if there else "")


def _made_ready(job: Job, plan: SwapPlan) -> BringUp:
    launch = plan.incoming.launch
    found = job.tools.deployments.beside(launch.name, launch.runtime)
    if found and found[1].lifecycle is Lifecycle.RUNNING and plan.way is not Way.SLEEP:
        raise Refused(f"{launch.name} runs already.", "To start it anew, restart it.")
    one = BringUp(job, plan.incoming, found)
    if plan.way is Way.LOAD or (found and found[1].lifecycle is Lifecycle.RUNNING):
        return one  # nothing is made
    freed = []
    for out in plan.outgoing:
        there = job.tools.deployments.on(out.runtime, out.name)
        if there and there.lifecycle is Lifecycle.RUNNING:
            freed += list(there.service.addresses())
            one.late = one.late or (there.made_as, there.runtime) == (launch.name, launch.runtime)
    one.check(running=False, force=job.request.force, freed=freed)
    return one
