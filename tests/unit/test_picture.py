"""What is shown of a run that ended without an error, and of which nobody knows that it was to end."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service, State
from engine.diagnose.explain import explain_text
from engine.diagnosis import Diagnosis, Evidence
from engine.observe.causes import Causes
from engine.observe.drift import Planned
from engine.observe.picture import Known, picture
from engine.observe.runs import Runs
from engine.observe.startups import Startups
from engine.observe.watch import Watches
from engine.snapshot import Model, OperationStatus, Outcome, Step, StepKind

LOGS = Path(__file__).parent.parent / "samples/logs"
SERVICE = Service(Protocol.OPENAI, "http://127.0.0.1:1", "http://127.0.0.1:1/health")
ENDED = Deployment("m", "docker", "vllm", "c0ffee", "i:1", Lifecycle.EXITED, SERVICE, 100.0, 101.0, 200.0, 0)
ASKED = OperationStatus(
    *("1", "stop", "m", (Step(StepKind.STOP, "stop", Outcome.DONE, began_at=150.0),), 150.0, Outcome.DONE, "ann@box")
)


class Log(Causes):
    """Of what has ended: one of those that were recorded."""

    def __init__(self, name: str) -> None:
        super().__init__(self._explain)
        self._name = name
        self.read: list[str] = []

    def _explain(self, deployment: Deployment) -> Diagnosis:
        self.read.append(deployment.name)
        return explain_text((LOGS / self._name).read_bytes(), Evidence(deployment.exit_code, stopped_on_purpose=True))


def known(causes: Causes, deployment: Deployment, *operations: OperationStatus) -> Known:
    def begin(_: object) -> asyncio.Task[None]:
        raise AssertionError("nothing of it runs")

    facts = Runs(begin, lambda: None), Planned(None, None), Startups({}, None, lambda: None), Watches()
    return Known("box", *facts, causes, deployments={"docker": (deployment,)}, operations=operations)


def shown(facts: Known) -> Model:
    [model] = picture(facts, loading=False, trouble="").models
    return model


@pytest.mark.parametrize(
    ("log", "state", "cause"),
    [
        ("vllm-0.32-engine-killed-serving.log", State.FAILED, "engine-process-ended"),
        ("vllm-0.32-stopped.log", State.STOPPED, None),
        ("vllm-0.32-cpu-ready.log", State.STOPPED, None),
    ],
    ids=["its engine was killed", "docker stop", "its log is cut off"],
)
async def test_a_vllm_that_ends_without_an_error(log: str, state: State, cause: str | None) -> None:
    causes, looked = Log(log), asyncio.Event()
    facts = known(causes, ENDED)
    assert shown(facts).state is State.STOPPED  # until more is known
    following = asyncio.ensure_future(causes.follow(looked.set))
    async with asyncio.timeout(20):
        await looked.wait()
    model = shown(facts)
    assert (model.state, model.cause.signature if model.cause else None) == (state, cause)
    assert "exit code 0" in model.detail
    assert (model.since, causes.read) == (200.0, ["m"])
    following.cancel()


@pytest.mark.parametrize(
    ("deployment", "operations"),
    [
        (replace(ENDED, stop_requested=True), ()),
        (ENDED, (ASKED,)),
        (replace(ENDED, exit_code=143), ()),
        (replace(ENDED, stack="triton"), ()),
    ],
    ids=["asked for", "asked for by an operation", "by SIGTERM", "another server"],
)
async def test_no_log_is_read_of_what_was_to_end(
    deployment: Deployment, operations: tuple[OperationStatus, ...]
) -> None:
    causes = Log("vllm-0.32-engine-killed-serving.log")
    facts = known(causes, deployment, *operations)
    failed, looked = replace(ENDED, name="failed", exit_code=1), asyncio.Event()
    causes.of(failed)
    assert shown(facts).state is State.STOPPED  # what is wanted last is looked into first
    following = asyncio.ensure_future(causes.follow(looked.set))
    async with asyncio.timeout(20):
        await looked.wait()
    assert causes.read == ["failed"]
    assert shown(facts).state is State.STOPPED
    following.cancel()
