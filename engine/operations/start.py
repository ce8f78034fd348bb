"""Start, stop, restart and remove: operations on one deployment."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from engine.deployment import Lifecycle
from engine.errors import EngineError, OperationFailed, RuntimeUnreachable
from engine.operations import bring_up, take_down
from engine.operations.bring_up import BringUp, refuse_obstacles, replaced_step, side
from engine.operations.job import Job, take_again
from engine.operations.ready import PortTaken
from engine.operations.record import Context, Ended, RolledBack, Side
from engine.operations.remains import what_is
from engine.operations.undo import explain, undone
from engine.operations.waiting import Cancelled
from engine.plan import Plan
from engine.snapshot import Step, StepKind
from engine.stacks.placement import NO_CREDIT


def start_steps(job: Job) -> list[Step]:
    name = job.request.name
    return [bring_up.check_step(name), *bring_up.steps(name, wait=job.request.wait)]


def start(job: Job, *, force: bool = False, elsewhere: bool = True) -> str:
    """What to tell the operator. The lease is given back as soon as only watching is left.

    `elsewhere`: when somebody else has taken an automatic port meanwhile, it is started once more on another one.
    """
    request = job.request
    to_run = bool(job.interrupted and any(side.running for side in job.interrupted.outgoing))
    """Whatever happens: it ran until this operation stopped it"""
    try:
        one, plan, running = _checked(job, force=force)
    except BaseException as error:
        if to_run and job.interrupted:
            raise undone(job, job.interrupted, error) from error
        raise
    context = job.interrupted or Context(incoming=one.before)
    goes_back = one.replaces and (not running or job.interrupted is not None)
    if not running:
        _begin(job, one, context, goes_back=to_run or goes_back)
    if not request.wait:
        one.let_go()
        return f"{request.name} was started; it is not known yet whether it becomes ready."
    if not one.replaces:
        job.lease.give_back()
    try:
        # What has served is only given up for what answers.
        ready = one.wait(request.timeout_s, always_prompt=one.replaces and to_run)
    except Ended as error:
        if goes_back:
            raise undone(job, context, error) from error
        raise
    except BaseException as error:
        failed = isinstance(error, EngineError) and not isinstance(error, Cancelled)
        may_move = elsewhere and not running and any(port.automatic for port in plan.launch.ports)
        if isinstance(error, PortTaken) and may_move and not goes_back:
            _make_way(job, one, context, error)
            return start(replace(job, interrupted=context), force=True, elsewhere=False)
        if failed and not running:
            job.tools.history.launched(plan, job.record.status, ready=False, startup=one.startup)
        if goes_back:
            raise undone(job, context, error) from error
        if failed:
            raise OperationFailed(str(error), _remains(one)) from error
        if isinstance(error, Cancelled):
            raise _cancelled(job, context, error, stays=running or to_run) from error
        raise
    if not running:
        job.tools.history.launched(plan, job.record.status, ready=True, startup=one.startup)
    one.let_go()
    return f"{request.name} is ready at {ready.service.http}."


def _checked(job: Job, *, force: bool) -> tuple[BringUp, Plan, bool]:
    """What can be made, with its image here; and whether it runs already."""
    record, request = job.record, job.request
    fetched = False
    while True:
        with record.step(StepKind.CHECK) as waiting:
            plan = job.tools.plan(request.name, request.runtime, NO_CREDIT)
            found = job.tools.deployments.beside(request.name, plan.launch.runtime)
            one = BringUp(job, plan, found)
            running = found is not None and found[1].lifecycle is Lifecycle.RUNNING
            one.check(running=running, force=force or request.force)
            if not running:
                record.require_journal()
            made = [] if running else bring_up.steps(request.name, placed=bool(plan.placement), wait=False)
            waited = bring_up.ready_steps(request.name) if request.wait else []
            record.set_steps([*made, *waited, *([replaced_step(request.name)] if one.replaces else ())])
            record.change(plan_digest=plan.digest, estimate=job.tools.history.expect(plan))
            waiting.detail(f"{plan.launch.stack} on {one.runtime.name}")
            if fetched or not one.fetches:
                record.keep(job.interrupted or Context(incoming=one.before))
                return one, plan, running
        record.insert(bring_up.check_again_step(request.name))
        one.fetch()
        fetched = True


def _begin(job: Job, one: BringUp, context: Context, *, goes_back: bool) -> None:
    """What could not even be started is taken away again, so that the next try begins afresh."""
    try:
        one.create()
        one.start()
    except BaseException as error:
        if not one.replaces and any(step.kind is StepKind.GPUS and step.outcome for step in job.record.status.steps):
            raise  # it was stopped again, and its log may say why it got others
        if goes_back or (isinstance(error, EngineError) and not isinstance(error, RuntimeUnreachable)):
            raise undone(job, context, error) from error
        if isinstance(error, RuntimeUnreachable):
            raise RuntimeUnreachable(str(error), what_is(job.tools.deployments, context)) from error
        raise


def _make_way(job: Job, one: BringUp, context: Context, taken: PortTaken) -> None:
    """For another try: what cannot answer where it is ends, and goes unless it was there before."""
    try:
        take_again(job.lease)
    except EngineError as error:
        raise OperationFailed(str(taken), f"It could not be started elsewhere: {error}") from error
    try:
        made = side(one.runtime, one.deployed())
        remove = [] if one.kept else [Step(StepKind.REMOVE, "remove", subject=made.name)]
        job.record.set_steps([take_down.stop_step(made.name), *remove, *start_steps(job)])
        take_down.stop(job, made)
        if remove:
            take_down.remove(job, made, replaced=False)
    except BaseException as error:
        raise undone(job, context, error) from error


def _cancelled(job: Job, context: Context, cancelled: Cancelled, *, stays: bool) -> EngineError:
    """While it was waited for without the lease. Raises what `undo` raises."""
    if stays:
        return OperationFailed(str(cancelled), f"{job.request.name} was left running, and may still become ready.")
    try:
        take_again(job.lease)
    except EngineError as error:
        return OperationFailed(
            f"{cancelled} It could not be rolled back: {error}", what_is(job.tools.deployments, context)
        )
    return undone(job, context, cancelled)


def _remains(one: BringUp) -> str:
    try:
        now = one.deployed()
    except EngineError as error:
        return str(error)
    if now.lifecycle is Lifecycle.RUNNING:
        return "It was left running: see its log, or stop it."
    return "It is kept, with its log."


def stop_steps(job: Job) -> list[Step]:
    return [take_down.stop_step(job.request.name)]


def stop(job: Job) -> str:
    before = _present(job)
    with _told(job, before):
        ran = take_down.stop(job, before)
    return f"{before.name} is stopped." if ran else f"{before.name} was not running."


def remove_steps(job: Job) -> list[Step]:
    return [*stop_steps(job), Step(StepKind.REMOVE, "remove", subject=job.request.name)]


def remove(job: Job) -> str:
    before = _present(job)
    with _told(job, before):
        take_down.stop(job, before)
        take_down.remove(job, before)
    return f"{before.name} and its log are removed."


@contextmanager
def _told(job: Job, before: Side) -> Iterator[None]:
    """What is asked to go is not brought back; that it may have gone only half is said."""
    context = job.interrupted or Context(outgoing=(before,))
    job.record.keep(context)
    try:
        yield
    except Cancelled as cancelled:
        told = what_is(job.tools.deployments, context)
        if any(step.kind is StepKind.STOP and step.outcome for step in job.record.status.steps):
            raise OperationFailed(str(cancelled), told) from cancelled
        raise RolledBack(str(cancelled), told) from cancelled
    except RuntimeUnreachable as error:
        raise RuntimeUnreachable(str(error), what_is(job.tools.deployments, context)) from error
    except EngineError:
        raise
    except BaseException as error:
        raise OperationFailed(explain(error), what_is(job.tools.deployments, context)) from error


def restart_steps(job: Job) -> list[Step]:
    return [*stop_steps(job), *start_steps(job)]


def restart(job: Job) -> str:
    """What cannot be started again is not interrupted; what was interrupted is started again."""
    before, one = _to_be_restarted(job)
    if one.fetches:
        one.fetch()
        before, one = _to_be_restarted(job)
    request = replace(job.request, runtime=before.runtime)
    context = Context(outgoing=(before,)) if before.running else Context(incoming=before)
    context = job.interrupted or context
    job.record.keep(context)
    try:
        take_down.stop(job, before)
    except BaseException as error:
        raise undone(job, context, error) from error
    return start(replace(job, request=request, interrupted=context), force=True)


def _to_be_restarted(job: Job) -> tuple[Side, BringUp]:
    before = _present(job)
    plan = job.tools.plan(before.name, before.runtime, NO_CREDIT)
    job.record.require_journal()
    if not job.request.force:
        refuse_obstacles(plan)
    found = job.tools.deployments.require(before.name)
    one = BringUp(job, plan, found)
    one.check(running=False, force=True, freed=tuple(found[1].service.addresses()))
    return before, one


def _present(job: Job) -> Side:
    return side(*job.tools.deployments.require(job.request.name))
