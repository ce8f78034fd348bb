"""Undoes a swap within one running Triton: the outgoing's models are loaded again, and the server has its old name."""

import time

from engine.deployment import Deployment, Lifecycle
from engine.drift import launch_facts
from engine.operations.bring_up import ready_steps
from engine.operations.fast import UNDO_S, InOneServer, models_of, take_back
from engine.operations.job import Job, patiently
from engine.operations.ready import ReadyWait
from engine.operations.record import Context, Side
from engine.operations.swap_ways import there
from engine.operations.waiting import Waiting
from engine.plan import Plan
from engine.snapshot import Step, StepKind
from engine.stacks.placement import NO_CREDIT


def server(job: Job, context: Context) -> Deployment | None:
    """The one that the models are in, by whichever name; None when it does not run any more."""
    side = context.outgoing[0]
    found = patiently(Waiting(), lambda: job.runtime(side.runtime).deployments())
    return next((one for one in found if one.id == side.id and one.lifecycle is Lifecycle.RUNNING), None)


def undo_in_server(job: Job, context: Context, running: Deployment) -> str:
    """What to tell of it. Raises `EngineError`."""
    side, record = context.outgoing[0], job.record
    renamed = running.name != side.name
    steps = [Step(StepKind.LOAD, "load again", subject=side.name, undo=True)]
    if renamed:
        steps.append(Step(StepKind.ADOPT, "hand the server back", subject=side.name, undo=True))
    record.set_steps([*steps, *ready_steps(side.name, undo=True)])
    runtime = job.runtime(side.runtime)
    outgoing = job.tools.plan(side.name, side.runtime, NO_CREDIT)
    job.lease.confirm()
    with record.step(StepKind.LOAD, side.name) as waiting:
        if context.incoming:
            incoming = job.tools.plan(context.incoming.name, side.runtime, NO_CREDIT)
            models = InOneServer(running.service, _models(incoming), _models(outgoing))
            waiting.detail(take_back(models, waiting, time.monotonic() + UNDO_S))
    if renamed:
        with record.step(StepKind.ADOPT, side.name) as waiting:
            patiently(waiting, lambda: runtime.claim(side.id, outgoing.launch, this_run_only=True))
    there = _named(job, side)
    ReadyWait(job, runtime, there).run(there.service.ready_timeout_s, always_prompt=True)
    return f"{side.name} serves again, and answers."


def _models(plan: Plan) -> tuple[str, ...]:
    return models_of(plan.launch.service, launch_facts(plan.launch))


def _named(job: Job, side: Side) -> Deployment:
    return patiently(Waiting(), lambda: there(job, side))
