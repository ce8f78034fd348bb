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
        raise OperationFailed(what, what_is(job, context)) from error


def undone(job: Job, context: Context, error: BaseException) -> RolledBack:
    """To be raised from the `error` that ended the operation. Raises what `undo` raises."""
    cause = explain(error)
    return RolledBack(f"{cause.rstrip('.')}. {undo(job, context, cause)}")


def explain(error: BaseException) -> str:
    """What is told of it, whether it was foreseen or not."""
    return str(error) if isinstance(error, EngineError) else f"It broke off: {type(error).__name__}: {error}."


def _undo(job: Job, context: Context, cause: str) -> str:
    back = tuple(side for side in context.outgoing if side.running)
    now = {
        side.name: patiently(Waiting(), lambda side=side: _now(job, side))  # type: ignore[misc]
        for side in (*back, *((context.incoming,) if context.incoming else ()))
    }
    taking = _taking_back(context.incoming, now[context.incoming.name]) if context.incoming else []
    bringing = {side.name: _bringing_back(side, now[side.name]) for side in back}
    job.record.set_steps([*taking, *(step for steps in bringing.values() for step in steps)])
    told: list[str] = []
    problems: list[str] = []
    if context.incoming and (incoming := now[context.incoming.name]):
        try:
            told += _take_back(job, context.incoming, incoming, taking, cause)
        except EngineError as error:
            left = patiently(Waiting(), lambda: _now(job, incoming))
            if left and left.lifecycle is Lifecycle.RUNNING:
                raise  # both at once would be worse
            problems.append(str(error))
    for side in back:
        try:
            told.append(_bring_back(job, side, now[side.name], bringing[side.name]))
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


def _take_back(job: Job, before: Side, now: Deployment, steps: list[Step], cause: str) -> list[str]:
    """The incoming one, as it was before the operation."""
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
    remove(job, before)
    return [f"{name} is removed{kept}."]


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


def _bringing_back(side: Side, now: Deployment | None) -> list[Step]:
    steps = []
    if not now or now.lifecycle is not Lifecycle.RUNNING:
        if now and now.gpus:
            steps.append(Step(StepKind.MEMORY, "wait for GPU memory", subject=side.name, undo=True))
        steps.append(Step(StepKind.START, "start again", subject=side.name, undo=True))
    elif now.stack == SLEEPER and fast.sleeps(now.service):
        steps.append(Step(StepKind.WAKE, "wake", subject=side.name, undo=True))
    return steps + ready_steps(side.name, undo=True)


def _bring_back(job: Job, side: Side, now: Deployment | None, steps: list[Step]) -> str:
    """The outgoing one serves again, and has answered a prompt."""
    runtime, name = job.runtime(side.runtime), side.name
    kinds = [step.kind for step in steps]
    if StepKind.MEMORY in kinds:
        _wait_for_memory(job, side)
    if StepKind.START in kinds:
        job.lease.confirm()
        with job.record.step(StepKind.START, name) as waiting:
            if now is None:
                waiting.detail("made anew from its profile: it is gone")
                plan = patiently(waiting, lambda: job.tools.plan(name, side.runtime, NO_CREDIT))
                # The answer to the first time may have been lost.
                patiently(waiting, lambda: None if _now(job, side) else runtime.create(plan.launch))
            patiently(waiting, lambda: runtime.start(name))
    if now and StepKind.WAKE in kinds:
        with job.record.step(StepKind.WAKE, name) as waiting:
            waiting.detail(fast.wake(now.service, waiting, time.monotonic() + SLEEP_S))
    there = patiently(Waiting(), lambda: _now(job, side))
    if there is None:
        raise OperationFailed(f"{name} is gone from {side.runtime}.")
    ReadyWait(job, runtime, there).run(there.service.ready_timeout_s, always_prompt=True)
    return f"{name} {'still serves' if len(kinds) == READY else 'serves again'}, and answers."


def _wait_for_memory(job: Job, side: Side) -> None:
    """What the failed one held may come back late. That it does not, or cannot be told, is no reason not to try."""
    with job.record.step(StepKind.MEMORY, side.name) as waiting:
        try:
            plan = job.tools.plan(side.name, side.runtime, NO_CREDIT)
            waiting.detail(job.tools.wait_for_memory(plan, waiting, Way.FULL))
        except EngineError as error:
            waiting.detail(f"tried all the same: {error}")


def what_is(job: Job, context: Context) -> str:
    """What there is now, in a sentence each: an operator must not have to guess."""
    sentences = []
    for side in (*context.outgoing, *((context.incoming,) if context.incoming else ())):
        try:
            now = _now(job, side)
        except EngineError:
            sentences.append(f"What has become of {side.name} cannot be told: {side.runtime} does not answer.")
            continue
        state = "is gone" if now is None else "runs" if now.lifecycle is Lifecycle.RUNNING else "does not run"
        if now or side.id:
            sentences.append(f"{side.name} {state}.")
    return " ".join(sentences)


def _now(job: Job, side: Side | Deployment) -> Deployment | None:
    return job.tools.deployments.on(side.runtime, side.name)
