"""Judges the state that the operator is told from what the runtime, the probe and the journal say."""

import math
from dataclasses import dataclass

from engine.deployment import Deployment, Lifecycle, State
from engine.observe.probe import Health, Probe
from engine.snapshot import OperationStatus, Outcome, Step, StepKind

SIGTERM_EXITS = (143, -15)
SIGKILL_EXITS = (137, -9)
NOT_PROBED = "not probed yet"


@dataclass(frozen=True, slots=True)
class Verdict:
    state: State
    detail: str = ""
    since: float | None = None
    by_itself: bool = False
    """Nobody is known to have stopped it: it may have failed all the same, which only its log tells"""


def judge(
    deployment: Deployment,
    probe: Probe | None,
    operations: tuple[OperationStatus, ...],
    now: float,
    *,
    was_ready: bool,
    probed_at: float = math.inf,
    asleep: bool = False,
) -> Verdict:
    """`operations`: those on this deployment, newest first. `was_ready`: it has answered since its last start.

    `probed_at`: when the probe was begun. `asleep`: its metrics say that it sleeps.
    """
    changing = next((status for status in operations if status.outcome is Outcome.RUNNING), None)
    step = _current(changing, deployment.name) if changing else None
    if deployment.lifecycle is Lifecycle.RUNNING:
        seen_at = max((_answered_at(operation, deployment) for operation in operations), default=-math.inf)
        if probed_at < seen_at and probe and probe.health is not Health.READY:
            probe = None  # an operation has seen it ready since
        known_ready = was_ready or seen_at > -math.inf
        return _running(deployment, probe, step, now, known_ready=known_ready, asleep=asleep)
    if changing and step and step.kind in (StepKind.CREATE, StepKind.START):
        return Verdict(State.STARTING, step.title, step.began_at or changing.began_at)
    if deployment.lifecycle is Lifecycle.CREATED:
        if deployment.error:
            return Verdict(State.FAILED, deployment.error, deployment.created_at)
        return Verdict(State.STOPPED, "created, never started", deployment.created_at)
    return _ended(deployment, operations)


def _running(
    deployment: Deployment,
    probe: Probe | None,
    step: Step | None,
    now: float,
    *,
    known_ready: bool,
    asleep: bool,
) -> Verdict:
    """`step`: what is being done to it."""
    since = deployment.started_at
    if step and step.kind in (StepKind.STOP, StepKind.UNLOAD):
        return Verdict(State.STOPPING, since=since)
    if probe and probe.health is Health.READY:
        if asleep and step and step.kind is StepKind.WAKE:
            return Verdict(State.STARTING, step.title, since)
        return Verdict(State.ASLEEP if asleep else State.READY, deployment.error, since)
    if not deployment.service.health:
        return Verdict(State.UNREACHABLE, deployment.error or "it has no address to be asked at", since)
    if probe and probe.health is Health.STRANGER:
        return Verdict(State.UNREACHABLE, probe.detail, since)
    detail = deployment.error or (probe.detail if probe else NOT_PROBED)
    age = now - (since or deployment.created_at)
    if step and step.kind in (StepKind.WAIT, StepKind.PROMPT):
        return Verdict(State.STARTING, detail, since)
    if not known_ready and age < deployment.service.ready_timeout_s:
        return Verdict(State.STARTING, detail, since)
    if probe is None:
        return Verdict(State.STARTING if not known_ready else State.READY, NOT_PROBED, since)
    return Verdict(State.UNREACHABLE, detail, since)


def _ended(deployment: Deployment, operations: tuple[OperationStatus, ...]) -> Verdict:
    since = deployment.finished_at or deployment.created_at
    code = deployment.exit_code
    if any(_wrong_gpus(operation, deployment) for operation in operations):
        return Verdict(State.FAILED, "stopped again: it was not on the GPUs that it was planned on", since)
    asked = deployment.stop_requested or any(
        (step.began_at or operation.began_at) >= (deployment.started_at or 0)
        for operation in operations
        for step in _steps(operation, deployment.name)
        if step.kind is StepKind.STOP and step.outcome is not None
    )
    if deployment.oom_killed:
        return Verdict(State.FAILED, "killed for using more memory than it was allowed", since)
    if deployment.error and not asked:
        return Verdict(State.FAILED, deployment.error, since)
    if asked:
        return Verdict(State.STOPPED, "" if code in (0, None) else f"exit code {code}", since)
    if code == 0:  # also what vLLM ends with when its engine was killed
        told = "it ended by itself, or was stopped from outside (exit code 0)"
        return Verdict(State.STOPPED, told, since, by_itself=True)
    if code in SIGTERM_EXITS:
        return Verdict(State.STOPPED, "ended by SIGTERM from outside", since)
    if code in SIGKILL_EXITS:
        return Verdict(State.FAILED, "killed from outside (SIGKILL), perhaps for lack of memory", since)
    return Verdict(State.FAILED, f"exit code {code}" if code is not None else "ended, and nobody saw how", since)


def _steps(operation: OperationStatus, name: str) -> list[Step]:
    """Those that are about this deployment: of a swap some are about the one, some about the other."""
    return [step for step in operation.steps if (step.subject or operation.target) == name]


def _current(operation: OperationStatus, name: str) -> Step | None:
    return next((step for step in _steps(operation, name) if step.outcome is Outcome.RUNNING), None)


def _answered_at(operation: OperationStatus, deployment: Deployment) -> float:
    """When the operation that started this run saw it ready; -inf when it did not."""
    since = deployment.started_at or 0
    ended = (
        step.ended_at or operation.ended_at or 0
        for step in _steps(operation, deployment.name)
        if step.kind in (StepKind.WAIT, StepKind.PROMPT) and step.outcome is Outcome.DONE
    )
    seen = (at for at in ended if operation.began_at <= since + 1 and since <= at)
    return max(seen, default=-math.inf)


def _wrong_gpus(operation: OperationStatus, deployment: Deployment) -> bool:
    """The operation that started this run has ended it."""
    started_at = deployment.started_at or 0
    failed = any(
        step.kind is StepKind.GPUS and step.outcome is Outcome.FAILED for step in _steps(operation, deployment.name)
    )
    return failed and operation.began_at <= started_at <= (operation.ended_at or started_at)
