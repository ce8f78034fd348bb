"""What a launch leaves for the next: how long its own steps took, and nothing of what came before them."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Protocol, Service
from engine.launch_history import LaunchHistory
from engine.launches import Launched, Launches
from engine.plan import Launch, Plan
from engine.snapshot import OperationStatus, Outcome, Step, StepKind

SWAP = (
    Step(StepKind.CREATE, "create", Outcome.DONE, began_at=1.0, ended_at=2.0, subject="b"),
    Step(StepKind.DRAIN, "drain", Outcome.DONE, began_at=2.0, ended_at=62.0, subject="a"),
    Step(StepKind.STOP, "stop", Outcome.DONE, began_at=62.0, ended_at=92.0, subject="a"),
    Step(StepKind.START, "start", Outcome.DONE, began_at=92.0, ended_at=93.0, subject="b"),
    Step(StepKind.WAIT, "wait until ready", Outcome.DONE, began_at=93.0, ended_at=103.0, subject="b"),
    Step(StepKind.PROMPT, "answer a prompt", Outcome.DONE, began_at=103.0, ended_at=104.0, subject="b"),
)
STATUS = OperationStatus("1", "swap", "b", SWAP, 0.0, Outcome.RUNNING, "me", outgoing=("a",))


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Launched]:
    found: list[Launched] = []
    monkeypatch.setattr(Launches, "record", lambda self, launched: found.append(launched))
    service = Service(Protocol.TRITON, "http://127.0.0.1:1", "http://127.0.0.1:1/v2/health/ready")
    plan = Plan(Launch("b", "triton", "process", ("true",), service), "b.yaml")
    history = LaunchHistory(Launches(tmp_path / "history.sqlite"), {})
    history.launched(plan, STATUS, ready=True)
    history.launched(plan, replace(STATUS, steps=SWAP[:3]), ready=False)
    return found


def test_what_the_outgoing_took_is_no_part_of_it(kept: list[Launched]) -> None:
    [launched] = kept
    assert (launched.began_at, launched.seconds) == (92.0, 12.0)
    assert launched.phases == (("start", 1.0), ("wait until ready", 10.0), ("answer a prompt", 1.0))
    assert STATUS.launching_since == 92.0
