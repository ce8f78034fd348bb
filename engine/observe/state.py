"""Judges the state that the operator is told from what the runtime, the probe and the journal say."""

from dataclasses import dataclass

from engine.deployment import Deployment, Lifecycle, State
from engine.observe.probe import Health, Probe
from engine.snapshot import OperationStatus, Outcome, StepKind

SIGTERM_EXITS = (143, -15)
SIGKILL_EXITS = (137, -9)
NOT_PROBED = "not probed yet"


@dataclass(frozen=True, slots=True)
class Verdict:
    state: State
    detail: str = ""
    since: float | None = None


def judge(
    deployment: Deployment,
    probe: Probe | None,
    operations: tuple[OperationStatus, ...],
    now: float,
    *,
    was_ready: bool,
) -> Verdict:
    """`operations`: those on this deployment, newest first. `was_ready`: it has answered since its last start."""
    if deployment.lifecycle is Lifecycle.RUNNING:
        return _running(deployment, probe, operations, now, was_ready=was_ready)
    changing = next((operation for operation in operations if operation.outcome is Outcome.RUNNING), None)
    if changing and changing.current and changing.current.kind in (StepKind.CREATE, StepKind.START):
        return Verdict(State.STARTING, changing.current.title, changing.began_at)
    if deployment.lifecycle is Lifecycle.CREATED:
        if deployment.error:
            return Verdict(State.FAILED, deployment.error, deployment.created_at)
        return Verdict(State.STOPPED, "created, never started", deployment.created_at)
    return _ended(deployment, operations)


def _running(
    deployment: Deployment,
    probe: Probe | None,
    operations: tuple[OperationStatus, ...],
    now: float,
    *,
    was_ready: bool,
) -> Verdict:
    since = deployment.started_at
    changing = next((operation for operation in operations if operation.outcome is Outcome.RUNNING), None)
    if changing and changing.current and changing.current.kind is StepKind.STOP:
        return Verdict(State.STOPPING, since=since)
    if probe and probe.health is Health.READY:
        return Verdict(State.READY, deployment.error, since)
    detail = deployment.error or (probe.detail if probe else NOT_PROBED)
    age = now - (since or deployment.created_at)
    known_ready = was_ready or any(
        operation.outcome is Outcome.DONE
        and operation.kind in ("start", "restart")
        and operation.began_at <= (since or 0) + 1 <= (operation.ended_at or 0) + 1
        for operation in operations
    )
    if not known_ready and age < deployment.service.ready_timeout_s:
        return Verdict(State.STARTING, detail, since)
    if probe is None:
        return Verdict(State.STARTING if not known_ready else State.READY, NOT_PROBED, since)
    return Verdict(State.UNREACHABLE, detail, since)


def _ended(deployment: Deployment, operations: tuple[OperationStatus, ...]) -> Verdict:
    since = deployment.finished_at or deployment.created_at
    code = deployment.exit_code
    if any(_wrong_gpus(operation, deployment.started_at or 0) for operation in operations):
        return Verdict(State.FAILED, "stopped again: it was not on the GPUs that it was planned on", since)
    asked = deployment.stop_requested or any(
        operation.began_at >= (deployment.started_at or 0)
        and any(step.kind is StepKind.STOP and step.outcome is not None for step in operation.steps)
        for operation in operations
    )
    if deployment.oom_killed:
        return Verdict(State.FAILED, "killed for using more memory than it was allowed", since)
    if deployment.error and not asked:
        return Verdict(State.FAILED, deployment.error, since)
    if asked or code == 0:
        return Verdict(State.STOPPED, "" if code in (0, None) else f"exit code {code}", since)
    if code in SIGTERM_EXITS:
        return Verdict(State.STOPPED, "ended by SIGTERM from outside", since)
    if code in SIGKILL_EXITS:
        return Verdict(State.FAILED, "killed from outside (SIGKILL), perhaps for lack of memory", since)
    return Verdict(State.FAILED, f"exit code {code}" if code is not None else "ended, and nobody saw how", since)


def _wrong_gpus(operation: OperationStatus, started_at: float) -> bool:
    """The operation that started this run has ended it."""
    failed = any(step.kind is StepKind.GPUS and step.outcome is Outcome.FAILED for step in operation.steps)
    return failed and operation.began_at <= started_at <= (operation.ended_at or started_at)
