"""What the operator is told, from what runtime, probe and journal say."""

from dataclasses import replace

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.observe.probe import Health, Probe
from engine.observe.state import judge
from engine.snapshot import OperationStatus, Outcome, Step, StepKind

NOW = 10_000.0
SERVICE = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready", ready_timeout_s=600)
RUNNING = Deployment("m", "docker", "triton", "id", "image", Lifecycle.RUNNING, SERVICE, NOW - 100, NOW - 99)
ENDED = replace(RUNNING, lifecycle=Lifecycle.EXITED, finished_at=NOW - 10, exit_code=0)
READY, REFUSED = Probe(Health.READY), Probe(Health.REFUSED, "nothing listens on its port")


def operation(kind: str, step: StepKind, outcome: Outcome = Outcome.RUNNING, began: float = NOW - 5) -> OperationStatus:
    ended = None if outcome is Outcome.RUNNING else NOW - 1
    return OperationStatus("1", kind, "m", (Step(step, step.value, outcome),), began, outcome, "me", ended)


@pytest.mark.parametrize(
    ("deployment", "probe", "operations", "was_ready", "state"),
    [
        (RUNNING, READY, (), False, State.READY),
        (RUNNING, REFUSED, (), False, State.STARTING),
        (RUNNING, None, (), False, State.STARTING),
        (RUNNING, REFUSED, (), True, State.UNREACHABLE),
        (replace(RUNNING, started_at=NOW - 601), REFUSED, (), False, State.UNREACHABLE),
        (RUNNING, REFUSED, (operation("start", StepKind.PROMPT, Outcome.DONE, NOW - 100),), False, State.UNREACHABLE),
        (RUNNING, READY, (operation("stop", StepKind.STOP),), True, State.STOPPING),
        (RUNNING, REFUSED, (operation("restart", StepKind.WAIT),), False, State.STARTING),
        (ENDED, None, (), False, State.STOPPED),
        (replace(ENDED, exit_code=1), None, (), False, State.FAILED),
        (replace(ENDED, exit_code=137), None, (), False, State.FAILED),
        (replace(ENDED, exit_code=143), None, (), False, State.STOPPED),
        (replace(ENDED, exit_code=137, stop_requested=True), None, (), False, State.STOPPED),
        (replace(ENDED, exit_code=137), None, (operation("stop", StepKind.STOP, Outcome.DONE),), False, State.STOPPED),
        # A stop of an earlier run says nothing about how this one ended.
        (
            replace(ENDED, exit_code=1),
            None,
            (operation("stop", StepKind.STOP, Outcome.DONE, NOW - 500),),
            False,
            State.FAILED,
        ),
        (
            replace(ENDED, exit_code=143),
            None,
            (operation("start", StepKind.GPUS, Outcome.FAILED, NOW - 100),),
            False,
            State.FAILED,
        ),
        # Another start failed so than the one that this run is of.
        (
            replace(ENDED, exit_code=143),
            None,
            (operation("start", StepKind.GPUS, Outcome.FAILED, NOW - 50),),
            False,
            State.STOPPED,
        ),
        (replace(ENDED, exit_code=0, oom_killed=True), None, (), False, State.FAILED),
        (replace(ENDED, lifecycle=Lifecycle.CREATED), None, (), False, State.STOPPED),
        (replace(ENDED, lifecycle=Lifecycle.CREATED, error="port taken"), None, (), False, State.FAILED),
        (ENDED, None, (operation("start", StepKind.START),), False, State.STARTING),
    ],
)
def test_judge(
    deployment: Deployment,
    probe: Probe | None,
    operations: tuple[OperationStatus, ...],
    was_ready: bool,
    state: State,
) -> None:
    assert judge(deployment, probe, operations, NOW, was_ready=was_ready).state is state


def test_who_was_asked_before_an_operation_saw_it_ready_is_not_said_to_be_gone() -> None:
    started = (operation("start", StepKind.WAIT, Outcome.DONE, NOW - 100),)  # it ended at NOW - 1
    before, after = (
        judge(RUNNING, REFUSED, started, NOW, was_ready=False, probed_at=at).state for at in (NOW - 1.5, NOW - 0.5)
    )
    assert (before, after) == (State.READY, State.UNREACHABLE)
