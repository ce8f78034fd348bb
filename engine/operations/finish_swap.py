"""Carries a swap to its end whose process is gone."""

from collections.abc import Callable
from dataclasses import replace

from engine.deployment import Deployment, Lifecycle
from engine.deployments import Place
from engine.operations import bring_up, fast, take_down
from engine.operations.bring_up import BringUp, ready_steps, replaced_step
from engine.operations.job import Job, patiently
from engine.operations.ready import ReadyWait
from engine.operations.record import Context, Side
from engine.operations.swap_ways import put_to_sleep
from engine.operations.undo import undone
from engine.request import Way
from engine.snapshot import Step, StepKind
from engine.stacks.placement import NO_CREDIT


def finish_swap(job: Job, context: Context, carry_out: Callable[[Job], str]) -> str:
    """What to tell the operator. `carry_out` swaps as if it were asked for now.

    `context`: how all was before the swap was begun. Raises `RolledBack` when that is so again.
    """
    request, deployments = job.request, job.tools.deployments
    found = deployments.beside(request.name, context.incoming.runtime) if context.incoming else None
    serves = found is not None and _runs(found[1]) and not fast.sleeps(found[1].service)
    left = tuple(side.name for side in context.outgoing if deployments.on(side.runtime, side.name))
    if left and not serves:
        return carry_out(replace(job, request=replace(request, outgoing=left)))
    job.record.keep(context)
    try:
        deployment = _see_out(job, context, found) if found and serves else _bring_up(job, context, found)
        runtime = job.runtime(deployment.runtime)
        limit_s = request.timeout_s or deployment.service.ready_timeout_s
        ReadyWait(job, runtime, deployment).run(limit_s, always_prompt=True)
    except BaseException as error:
        raise undone(job, context, error) from error
    if deployment.replaces:
        with job.record.step(StepKind.LET_GO, request.name) as waiting:
            patiently(waiting, lambda: runtime.drop_aside(deployment.name))
    for side in context.outgoing:
        take_down.let_go(job, side, context.way)
    return f"{request.name} serves at {deployment.service.http}."


def _see_out(job: Job, context: Context, found: Place) -> Deployment:
    """The incoming one runs: all that is left is to see that it answers, and that the outgoing does not serve."""
    now = {side.name: job.tools.deployments.on(side.runtime, side.name) for side in context.outgoing}
    running = [side for side in context.outgoing if (there := now[side.name]) and _runs(there)]
    asleep = [side for side in running if context.way is Way.SLEEP and side.running]
    stopped = [side for side in running if side not in asleep]
    job.record.set_steps(
        [
            *(Step(StepKind.SLEEP, "put to sleep", subject=side.name) for side in asleep),
            *(take_down.stop_step(side.name) for side in stopped),
            *_last_steps(found[1], context.outgoing),
        ]
    )
    for side in asleep:
        put_to_sleep(job, side)
    for side in stopped:
        take_down.stop(job, side)
    return found[1]


def _bring_up(job: Job, context: Context, found: Place | None) -> Deployment:
    """What had to go is gone altogether: it was started with --rm."""
    name = job.request.name
    plan = job.tools.plan(name, found[0].name if found else job.request.runtime, NO_CREDIT)
    one = BringUp(job, plan, found)
    one.check(running=False, force=True)
    job.record.set_steps(bring_up.steps(name, placed=bool(plan.placement), wait=False))
    if one.fetches:
        one.fetch()
    one.create()
    one.start()
    deployment = one.deployed()
    job.record.set_steps(_last_steps(deployment, context.outgoing))
    return deployment


def _last_steps(incoming: Deployment, outgoing: tuple[Side, ...]) -> list[Step]:
    replaced = [replaced_step(incoming.name)] if incoming.replaces else []
    let_go = (Step(StepKind.LET_GO, "let go", subject=side.name) for side in outgoing)
    return [*ready_steps(incoming.name), *replaced, *let_go]


def _runs(deployment: Deployment) -> bool:
    return deployment.lifecycle is Lifecycle.RUNNING
