"""Puts back what an operation has changed, from how it was before and how it is now. It may be done again and again."""

import time

from engine.deployment import Deployment, Lifecycle
from engine.errors import EngineError, OperationFailed
from engine.operations import fast
from engine.operations.bring_up import ready_steps
from engine.operations.job import Job, patiently
from engine.operations.kept_log import keep_log
from engine.operations.ready import ReadyWait
from engine.operations.record import Context, RolledBack, Side
from engine.operations.remains import what_is
from engine.operations.swap_ways import SLEEP_S
from engine.operations.take_down import remove, stop, stop_step
from engine.operations.undo_in_server import server, undo_in_server
from engine.operations.waiting import Waiting
from engine.request import Way
from engine.snapshot import Step, StepKind
from engine.stacks.placement import NO_CREDIT
from engine.text import clean_line, mask_secrets

SLEEPER = "vllm"
"""The stack that can sleep"""
READY = len(ready_steps(""))


def undo(job: Job, context: Context, cause: str) -> str:
    """What to tell of it. Raises `OperationFailed` with the cause and what remains when it did not succeed."""
    record = job.record
    record.set_steps([])
    record.change(message=clean_line(mask_secrets(cause)))
    try:
        if context.way is Way.LOAD and (running := server(job, context)):
            return undo_in_server(job, context, running)
        return _undo(job, context, cause)
    except BaseException as error:
        what = f"{cause} It could not be rolled back: {explain(error)}"
        raise OperationFailed(what, what_is(job.tools.deployments, context)) from error


def undone(job: Job, context: Context, error: BaseException) -> RolledBack:
    """To be raised from the `error` that ended the operation. Raises what `undo` raises."""
    cause = explain(error)
    return RolledBack(f"{cause.rstrip('.')}. {undo(job, context, cause)}")


def explain(error: BaseException) -> str:
    """What is told of it, whether it was foreseen or not."""
    return str(error) if isinstance(error, EngineError) else f"It broke off: {type(error).__name__}: {error}."


def _undo(job: Job, context: Context, cause: str) -> str:
    back = tuple(side for side in context.outgoing if side.running)
    incoming = (context.incoming,) if context.incoming else ()
    now = {side.name: _patient_now(job, side) for side in (*back, *incoming)}
    replaced = tuple(side for side in back if _is_replaced(side, now[side.name]))
    taking = {side.name: _taking_back(side, now[side.name]) for side in (*incoming, *replaced)}
    bringing = {side.name: _bringing_back(side, now[side.name], ended=side in replaced) for side in back}
    job.record.set_steps([step for steps in (*taking.values(), *bringing.values()) for step in steps])
    told: list[str] = []
    problems: list[str] = []
    in_place: set[str] = set()
    """Those that still have the place of one that is to come back"""
    for side in (*incoming, *replaced):
        try:
            told += _take_back(job, side, now[side.name], taking[side.name], cause)
        except EngineError as error:
            left = _patient_now(job, side)
            if left and left.lifecycle is Lifecycle.RUNNING:
                raise  # both at once would be worse
            problems.append(str(error))
            in_place.add(side.name)
    for side in back:
        if side.name in in_place:
            continue
        try:
            there = _patient_now(job, side) if side in replaced else now[side.name]
            told.append(_bring_back(job, side, there, bringing[side.name]))
        except EngineError as error:  # another one may come back all the same
            problems.append(str(error))
    if problems:
        raise OperationFailed(" ".join(problems))
    return " ".join(told) or "Nothing had been changed."


def _taking_back(before: Side, now: Deployment | None) -> list[Step]:
    steps = []
    if now and now.lifecycle is Lifecycle.RUNNING and (now.id != before.id or not before.running):
        steps.append(stop_step(before.name, undo=True))
    elif now and now.lifecycle is Lifecycle.RUNNING and now.stack == SLEEPER and not fast.sleeps(now.service):
        # It was woken: what ran before a swap as the incoming one slept.
        steps.append(Step(StepKind.SLEEP, "put to sleep again", subject=before.name, undo=True))
    if now and now.id != before.id:
        steps.append(Step(StepKind.KEEP_LOG, "keep its log", subject=before.name, undo=True))
        steps.append(Step(StepKind.REMOVE, "remove", subject=before.name, undo=True))
    return steps


def _is_replaced(side: Side, now: Deployment | None) -> bool:
    """By another of its name, which was to serve in its place."""
    return now is not None and bool(side.id) and now.replaces == side.id


def _take_back(job: Job, before: Side, now: Deployment | None, steps: list[Step], cause: str) -> list[str]:
    """What the operation has made or started; what it has set aside for that has its place again."""
    told = _take_away(job, before, now, steps, cause) if now else []
    patiently(Waiting(), lambda: job.runtime(before.runtime).bring_back(before.name))
    return told


def _take_away(job: Job, before: Side, now: Deployment, steps: list[Step], cause: str) -> list[str]:
    kinds = [step.kind for step in steps]
    name = before.name
    if StepKind.STOP in kinds:
        stop(job, before)
    if StepKind.SLEEP in kinds:
        with job.record.step(StepKind.SLEEP, name) as waiting:
            waiting.detail(fast.put_to_sleep(now.service, waiting, time.monotonic() + SLEEP_S))
        return [f"{name} sleeps again."]
    if StepKind.REMOVE not in kinds:
        return [f"{name} is stopped again."] if kinds else []
    kept = _keep_log(job, now, cause)
    remove(job, before, replaced=False)
    return [f"{f'The new {name}' if before.id else name} is removed{kept}."]


def _keep_log(job: Job, deployment: Deployment, cause: str) -> str:
    runtime = job.runtime(deployment.runtime)
    with job.record.step(StepKind.KEEP_LOG, deployment.name) as waiting:
        if deployment.lifecycle is Lifecycle.CREATED:
            waiting.detail("it has none: it was never started")
            return ""
        try:
            path = patiently(waiting, lambda: keep_log(job.tools.settings, runtime, deployment.name, cause))
        except (OSError, EngineError) as error:
            waiting.detail(f"it could not be kept: {error}")
            return f", and its log could not be kept ({error})"
        waiting.detail(str(path))
        job.record.change(log_path=str(path))
    return f"; its log is kept in {path}"


def _bringing_back(side: Side, now: Deployment | None, *, ended: bool = False) -> list[Step]:
    """`ended`: although what there is now may run, which is then another one."""
    steps = []
    if ended or not now or now.lifecycle is not Lifecycle.RUNNING:
        if now and now.gpus:
            steps.append(Step(StepKind.MEMORY, "wait for GPU memory", subject=side.name, undo=True))
        steps.append(Step(StepKind.START, "start again", subject=side.name, undo=True))
    elif now.stack == SLEEPER and fast.sleeps(now.service):
        steps.append(Step(StepKind.WAKE, "wake", subject=side.name, undo=True))
    return steps + ready_steps(side.name, undo=True)


def _bring_back(job: Job, side: Side, now: Deployment | None, steps: list[Step], *, ended: str = "") -> str:
    """The outgoing one serves again, and has answered a prompt. `ended`: how its first start did, of a second one."""
    runtime, name = job.runtime(side.runtime), side.name
    kinds = [step.kind for step in steps]
    if StepKind.MEMORY in kinds:
        _wait_for_memory(job, side)
    if StepKind.START in kinds:
        job.lease.confirm()
        with job.record.step(StepKind.START, name) as waiting:
            if ended:
                waiting.detail(f"once more: {ended}")
            if now is None or now.made_as:
                waiting.detail("made anew from its profile: it is gone")
                patiently(waiting, lambda: _make_anew(job, side))
            patiently(waiting, lambda: runtime.start(name))
    if now and StepKind.WAKE in kinds:
        with job.record.step(StepKind.WAKE, name) as waiting:
            waiting.detail(fast.wake(now.service, waiting, time.monotonic() + SLEEP_S))
    there = _patient_now(job, side)
    if there is None:
        raise OperationFailed(f"{name} is gone from {side.runtime}.")
    try:
        ReadyWait(job, runtime, there).run(there.service.ready_timeout_s, always_prompt=True)
    except OperationFailed as error:
        left = _patient_now(job, side)
        if ended or (left and left.lifecycle is Lifecycle.RUNNING):
            raise
        return _once_more(job, side, left, error)
    return f"{name} {'still serves' if len(kinds) == READY else 'serves again'}, and answers."


def _once_more(job: Job, side: Side, now: Deployment | None, error: OperationFailed) -> str:
    steps = _bringing_back(side, now)
    others = [step for step in job.record.status.steps if step.outcome is None and step.subject != side.name]
    job.record.set_steps([*steps, *others])
    try:
        return _bring_back(job, side, now, steps, ended=str(error))
    except EngineError as second:
        raise OperationFailed(f"{error} It was started once more: {second}") from second


def _make_anew(job: Job, side: Side) -> None:
    """May be asked for again when the answer to the first time was lost."""
    runtime, there = job.runtime(side.runtime), _now(job, side)
    if there and there.made_as:  # no more than a name: the server that it was in has ended
        runtime.remove(side.name)
    elif there:
        return
    runtime.create(job.tools.plan(side.name, side.runtime, NO_CREDIT).launch)


def _wait_for_memory(job: Job, side: Side) -> None:
    """What the failed one held may come back late. That it does not, or cannot be told, is no reason not to try."""
    with job.record.step(StepKind.MEMORY, side.name) as waiting:
        try:
            plan = job.tools.plan(side.name, side.runtime, NO_CREDIT)
            waiting.detail(job.tools.wait_for_memory(plan, waiting, Way.FULL))
        except EngineError as error:
            waiting.detail(f"tried all the same: {error}")


def _patient_now(job: Job, side: Side) -> Deployment | None:
    return patiently(Waiting(), lambda: _now(job, side))


def _now(job: Job, side: Side) -> Deployment | None:
    return job.tools.deployments.on(side.runtime, side.name)
