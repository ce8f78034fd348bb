"""Out of service: drain, stop and see that it has stopped, remove."""

from engine.deployment import Deployment, Lifecycle
from engine.errors import NotFound, OperationFailed
from engine.operations.bring_up import STOP_TIMEOUT_S
from engine.operations.drain import drain
from engine.operations.job import Job, patiently
from engine.operations.record import Side
from engine.operations.waiting import Waiting
from engine.request import Way
from engine.snapshot import Step, StepKind


def drain_outgoing(job: Job, side: Side) -> None:
    with job.record.step(StepKind.DRAIN, side.name) as waiting:
        deployment = patiently(waiting, lambda: _now(job, side))
        if not deployment or deployment.lifecycle is not Lifecycle.RUNNING:
            waiting.detail("it does not run")
            return
        waiting.detail(drain(deployment.service, waiting, job.request.drain_s))


def stop(job: Job, side: Side) -> bool:
    """Whether it ran. Raises `OperationFailed` when it still runs."""
    job.lease.confirm()
    with job.record.step(StepKind.STOP, side.name) as waiting:
        return patiently(waiting, lambda: _stop(job, side, waiting))


def _stop(job: Job, side: Side, waiting: Waiting) -> bool:
    deployment = _now(job, side)
    if not deployment:
        waiting.detail("it is gone already")
        return False
    runtime = job.runtime(side.runtime)
    if deployment.lifecycle is not Lifecycle.RUNNING:
        if deployment.lifecycle is Lifecycle.EXITED:
            runtime.stop(side.name, STOP_TIMEOUT_S)  # what a crashed server left behind may still hold memory
        waiting.detail("it was not running")
        return False
    runtime.stop(side.name, STOP_TIMEOUT_S)
    ended = _now(job, side)
    if ended and ended.lifecycle is Lifecycle.RUNNING:
        raise OperationFailed(f"{side.name} was told to stop and still runs.", f"Look at it on {side.runtime}.")
    if not ended:
        waiting.detail("stopped, and removed by that: it was started with --rm")
    else:
        waiting.detail("" if ended.exit_code is None else f"exit code {ended.exit_code}")
    return True


def remove(job: Job, side: Side, *, replaced: bool = True) -> None:
    """`replaced`: and the one that is set aside for it, which else has its place again."""
    job.lease.confirm()
    with job.record.step(StepKind.REMOVE, side.name) as waiting:
        if not patiently(waiting, lambda: forget(job, side, replaced=replaced)):
            waiting.detail("it is gone already")


def forget(job: Job, side: Side, *, replaced: bool = True) -> bool:
    """Whether it was there. May be asked for again when the answer to the first time was lost."""
    runtime = job.runtime(side.runtime)
    if replaced:
        runtime.drop_aside(side.name)
    try:
        runtime.remove(side.name)
    except NotFound:
        return False
    return True


def let_go(job: Job, side: Side, way: Way = Way.FULL) -> None:
    with job.record.step(StepKind.LET_GO, side.name) as waiting:
        if way is Way.LOAD:
            waiting.detail("its models are unloaded; the server goes on")
            return
        if way is Way.SLEEP and side.running and not job.request.remove_outgoing:
            waiting.detail("it sleeps, and can be woken")
            return
        there = patiently(waiting, lambda: _now(job, side))
        if not there:
            waiting.detail(_why_gone(side))
            return
        job.lease.confirm()
        if there.lifecycle is Lifecycle.RUNNING:  # it slept, or Docker was restarted and brought it back
            patiently(waiting, lambda: _stop(job, side, waiting))
        if job.request.remove_outgoing:
            patiently(waiting, lambda: forget(job, side))
            waiting.detail("removed, with its log")
        else:
            back = "; its restart policy may bring it back when Docker starts" if there.restarts_itself else ""
            waiting.detail(f"kept stopped{back}")


def _why_gone(side: Side) -> str:
    if side.made_as:
        return f"gone with the server of {side.made_as} that it was loaded into"
    return "gone: it was started with --rm" if side.running and side.runtime == "docker" else "gone"


def gone_word(way: Way, *, removed: bool) -> str:
    """What the outgoing is at the end."""
    if way is Way.LOAD:
        return "unloaded"
    return "removed" if removed else "asleep" if way is Way.SLEEP else "stopped"


def stop_step(name: str, *, undo: bool = False) -> Step:
    return Step(StepKind.STOP, "stop", subject=name, undo=undo)


def _now(job: Job, side: Side) -> Deployment | None:
    return job.tools.deployments.on(side.runtime, side.name)
