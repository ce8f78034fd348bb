"""What each way of a swap does between its check and letting the outgoing go."""

import time
from dataclasses import replace

from engine.deployment import Deployment
from engine.errors import OperationFailed
from engine.operations import bring_up, fast, take_down
from engine.operations.bring_up import BringUp
from engine.operations.job import Job, patiently
from engine.operations.record import Context, Side
from engine.plan import SwapPlan
from engine.request import Way
from engine.snapshot import Step, StepKind

SLEEP_S = 300.0
"""Weights of hundreds of GiB go to the machine's memory, or come back"""
UNLOAD_S = 300.0


def steps(plan: SwapPlan, *, late: bool = False) -> list[Step]:
    """What comes after the check. `late`: what comes in cannot be made while what goes has its name."""
    name, running = plan.incoming.launch.name, [one.name for one in plan.outgoing if one.running]
    placed = bool(plan.incoming.placement)
    memory = [Step(StepKind.MEMORY, "wait for GPU memory", subject=name)] if placed else []
    create, start = bring_up.create_step(name), bring_up.start_steps(name, placed=placed)
    found = [Step(StepKind.DRAIN, "drain", subject=outgoing) for outgoing in running]
    match plan.way:
        case Way.FULL:
            stop = [take_down.stop_step(outgoing) for outgoing in running]
            found = [*found, *stop, create] if late else [create, *found, *stop]
            found += [*memory, *start]
        case Way.SLEEP:
            # Which of these it takes is known once it has been looked for.
            sleep = [Step(StepKind.SLEEP, "put to sleep", subject=outgoing) for outgoing in running]
            found = [create, *found, *sleep, *memory, Step(StepKind.WAKE, "wake", subject=name), *start]
        case Way.LOAD:
            unload = [Step(StepKind.UNLOAD, "unload", subject=outgoing) for outgoing in running]
            load = [Step(StepKind.LOAD, "load", subject=name)]
            found += [*unload, *memory, *load] if placed else [*load, *unload]
            found += [Step(StepKind.ADOPT, "hand the server over", subject=name)]
    found += bring_up.ready_steps(name)
    return found + [Step(StepKind.LET_GO, "let go", subject=one.name) for one in plan.outgoing]


def carry_out(job: Job, plan: SwapPlan, context: Context, one: BringUp) -> Deployment:
    """The incoming one, which has answered. Raises what its steps raise."""
    running = [side for side in context.outgoing if side.running]
    wakes = context.incoming is not None and context.incoming.running
    made = plan.way is not Way.LOAD and not wakes
    if plan.way is Way.SLEEP:
        for kind in (StepKind.CREATE, StepKind.START, StepKind.GPUS) if wakes else (StepKind.WAKE,):
            job.record.leave_out(kind)
    if made and not one.late:
        one.create()
    for side in running:
        take_down.drain_outgoing(job, side)
    if plan.way is Way.LOAD:
        _load(job, plan, running[0], one)
    else:
        for side in running:
            if plan.way is Way.SLEEP:
                put_to_sleep(job, side)
            else:
                take_down.stop(job, side)
        if made and one.late:
            one.create()
        _wait_for_memory(job, plan)
        if made:
            one.start()
        elif context.incoming:
            _wake(job, context.incoming)
    return one.wait(job.request.timeout_s, always_prompt=True)


def _wait_for_memory(job: Job, plan: SwapPlan) -> None:
    if plan.incoming.placement:
        with job.record.step(StepKind.MEMORY) as waiting:
            # Who insists on a plan that does not fit gets the start that shows it.
            incoming = replace(plan.incoming, needs_bytes={}) if job.request.force else plan.incoming
            waiting.detail(job.tools.wait_for_memory(incoming, waiting, plan.way))


def put_to_sleep(job: Job, side: Side) -> None:
    job.lease.confirm()
    with job.record.step(StepKind.SLEEP, side.name) as waiting:
        service = patiently(waiting, lambda: there(job, side)).service
        waiting.detail(fast.put_to_sleep(service, waiting, time.monotonic() + SLEEP_S))


def _wake(job: Job, side: Side) -> None:
    job.lease.confirm()
    with job.record.step(StepKind.WAKE, side.name) as waiting:
        service = patiently(waiting, lambda: there(job, side)).service
        waiting.detail(fast.wake(service, waiting, time.monotonic() + SLEEP_S))


def _load(job: Job, plan: SwapPlan, outgoing: Side, one: BringUp) -> None:
    launch, record = plan.incoming.launch, job.record
    models = fast.InOneServer.of(there(job, outgoing), plan.incoming)
    job.lease.confirm()
    if plan.incoming.placement:
        with record.step(StepKind.UNLOAD, outgoing.name) as waiting:
            waiting.detail(models.unload(waiting, time.monotonic() + UNLOAD_S))
        _wait_for_memory(job, plan)
    with record.step(StepKind.LOAD, launch.name) as waiting:
        limit_s = job.request.timeout_s or launch.service.ready_timeout_s
        waiting.detail(models.load(waiting, time.monotonic() + limit_s))
    if not plan.incoming.placement:
        with record.step(StepKind.UNLOAD, outgoing.name) as waiting:
            waiting.detail(models.unload(waiting, time.monotonic() + UNLOAD_S))
    with record.step(StepKind.ADOPT, launch.name) as waiting:
        patiently(waiting, lambda: one.runtime.claim(outgoing.id, launch, this_run_only=True))
        waiting.detail(f"the server that was {outgoing.name} is {launch.name} now, until it stops")


def there(job: Job, side: Side) -> Deployment:
    """Raises `OperationFailed` when it is gone."""
    found = job.tools.deployments.on(side.runtime, side.name)
    if not found:
        raise OperationFailed(f"{side.name} is gone from {side.runtime}.")
    return found
