"""An image that is not here is fetched before anything else is touched."""

import threading
import time
from dataclasses import replace

import pytest

from engine.errors import OperationFailed, RuntimeUnreachable
from engine.operations import job
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, StepKind
from tests.unit.operations_bench import Bench, Failed

IMAGE = "models/one:1"
pytestmark = pytest.mark.usefixtures("ready")


@pytest.fixture(autouse=True)
def _all_ready(ready: threading.Event) -> None:
    ready.set()


def done(status: OperationStatus) -> list[str]:
    return [step.kind.value for step in status.steps if step.outcome is Outcome.DONE]


def serve(bench: Bench, name: str) -> None:
    bench.run(Action.START, name)
    bench.docker.called.clear()
    bench.image = IMAGE
    bench.docker.elsewhere.add(IMAGE)


def test_a_start_fetches_it_once_and_tells_how_far_it_is(bench: Bench) -> None:
    bench.image = IMAGE
    bench.docker.elsewhere.add(IMAGE)
    details: set[str] = set()
    bench.at = lambda status: details.update(step.detail for step in status.steps if step.kind is StepKind.PULL)
    status = bench.run(Action.START)
    assert done(status)[:3] == ["check", "pull", "create"]
    assert f"{IMAGE}: image pull 1.0 GiB of 3.0 GiB" in details
    bench.run(Action.STOP)
    bench.run(Action.REMOVE)
    assert "pull" not in done(bench.run(Action.START))


def test_what_cannot_be_fetched_leaves_nothing_behind(bench: Bench) -> None:
    bench.image = IMAGE
    bench.docker.elsewhere.add(IMAGE)

    def refuse(call: str, name: str, done: bool) -> None:
        if call == "pull":
            raise OperationFailed("There is no such tag.", "Check it.")

    bench.docker.hook = refuse
    with pytest.raises(Failed, match=r"There is no such tag.*Nothing had been changed") as failed:
        bench.run(Action.START)
    assert failed.value.status.outcome is Outcome.ROLLED_BACK
    assert not bench.docker.held


def test_a_swap_fetches_it_while_the_outgoing_serves(bench: Bench) -> None:
    serve(bench, "a")
    status = bench.run(Action.SWAP, "b", outgoing=("a",))
    assert done(status).index("pull") < done(status).index("create") < done(status).index("drain")
    assert [call for call, _ in bench.docker.called if call in ("pull", "create", "stop", "start")] == [
        "pull",
        "create",
        "stop",
        "start",
    ]


def test_a_swap_that_is_cancelled_while_it_fetches_has_touched_nothing(bench: Bench) -> None:
    serve(bench, "a")

    def cancel(call: str, name: str, done: bool) -> None:
        if call == "pull":
            bench.cancelled.set()

    bench.docker.hook = cancel
    with pytest.raises(Failed) as failed:
        bench.run(Action.SWAP, "b", outgoing=("a",))
    assert failed.value.status.outcome is Outcome.ROLLED_BACK
    assert bench.runs("a")
    assert {call for call, _ in bench.docker.called} <= {"pull"}


def test_a_restart_fetches_it_before_it_stops_what_serves(bench: Bench) -> None:
    serve(bench, "m")
    bench.digest = "2"
    status = bench.run(Action.RESTART)
    assert done(status)[:2] == ["pull", "stop"]
    assert done(status).count("pull") == 1


def test_what_can_only_be_made_late_is_fetched_before_anything_stops(bench: Bench) -> None:
    serve(bench, "a")
    bench.docker.held["a"] = replace(bench.docker.held["a"], made_as="m")
    bench.run(Action.SWAP, "m", outgoing=("a",))
    assert [call for call, _ in bench.docker.called] == ["pull", "stop", "create", "start"]


def test_a_daemon_that_goes_away_after_a_long_time_is_waited_for(bench: Bench) -> None:
    bench.image = IMAGE
    bench.docker.elsewhere.add(IMAGE)
    broken: list[str] = []

    def break_off(call: str, name: str, done: bool) -> None:
        if call == "pull" and len(broken) < 2:
            if not broken:
                time.sleep(job.PATIENCE_S * 1.5)
            broken.append(name)
            raise RuntimeUnreachable("Docker broke off.")

    bench.docker.hook = break_off
    bench.run(Action.START)
    assert len(broken) == 2
