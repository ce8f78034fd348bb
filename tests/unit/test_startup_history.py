"""What a start leaves for the next of the same: how long each phase took, and what the engine told of itself."""

from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.launch_history import LaunchHistory
from engine.launches import Launches
from engine.plan import Launch, Mount, Plan
from engine.snapshot import OperationStatus, Outcome, Step, StepKind
from engine.stacks.huggingface import CACHE_IN_CONTAINER
from engine.startup import Phase, PhaseProgress, Reported, Startup

SERVICE = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
LAUNCH = Launch(
    "m", "vllm", "docker", ("serve",), SERVICE, profile_digest="p", mounts=(Mount("/hf", CACHE_IN_CONTAINER),)
)
PLAN = Plan(LAUNCH, "m.yaml", model="org/m")
STEPS = (
    Step(StepKind.START, "start", Outcome.DONE, began_at=9.0, ended_at=10.0, subject="m"),
    Step(StepKind.WAIT, "wait until ready", Outcome.DONE, began_at=10.0, ended_at=80.0, subject="m"),
)
STATUS = OperationStatus("1", "start", "m", STEPS, 0.0, Outcome.RUNNING, "me")
DEPLOYMENT = Deployment(
    "m", "docker", "vllm", "id", "vllm", Lifecycle.RUNNING, SERVICE, 0.0, 9.0, profile_digest="p", image_id=""
)
REPORTED = (Reported("weights_bytes", 16.0e9, "Model loading took 14.9 GiB"),)


def started(weights_s: float, *, download_s: float = 0.0) -> Startup:
    times = [(Phase.BOOT, 20.0), *([(Phase.DOWNLOAD, download_s)] if download_s else []), (Phase.WEIGHTS, weights_s)]
    phases, at = [], 10.0
    for phase, seconds in times:
        phases.append(PhaseProgress(phase, at, at + seconds))
        at += seconds
    return Startup(10.0, (*phases, PhaseProgress(Phase.READY, at, at)), reported=REPORTED)


@pytest.fixture
def history(tmp_path: Path) -> LaunchHistory:
    return LaunchHistory(Launches(tmp_path / "history.sqlite"), {})


def test_the_next_start_knows_its_phases_and_its_figures(history: LaunchHistory) -> None:
    assert (history.usual(DEPLOYMENT), history.reported("m")) == ((), ())
    history.launched(PLAN, STATUS, ready=True, startup=started(90.0, download_s=600.0))
    for weights_s in (30.0, 31.0, 50.0):
        history.launched(PLAN, STATUS, ready=True, startup=started(weights_s))
    assert history.usual(DEPLOYMENT) == ((Phase.BOOT.value, 20.0), (Phase.WEIGHTS.value, 40.5))
    assert Startup(0.0, usual=history.usual(DEPLOYMENT)).usual_s(Phase.WEIGHTS) == 40.5
    assert history.reported("m") == REPORTED


def test_without_phases_its_steps_are_kept(history: LaunchHistory) -> None:
    history.launched(PLAN, STATUS, ready=True, startup=Startup(10.0, (PhaseProgress(Phase.BOOT, 10.0),)))
    assert history.usual(DEPLOYMENT) == (("start", 1.0), ("wait until ready", 70.0))


def test_where_its_files_are_seen(history: LaunchHistory) -> None:
    assert history.files(PLAN) == Path("/hf/hub/models--org--m")
