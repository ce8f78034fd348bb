"""What operations make of a plan: obstacles, what is missing, and whether the GPUs are those that were planned."""

import threading
from dataclasses import replace

import pytest

from engine.deployment import Lifecycle
from engine.errors import OperationFailed
from engine.request import Action
from engine.snapshot import Outcome, StepKind
from tests.unit.operations_bench import Bench, Failed


def test_obstacles_are_refused_all_at_once_and_can_be_overridden(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.obstacles = ("GPU 0 is used by a", "It does not fit.")
    with pytest.raises(Failed, match=r"GPU 0 is used by a\. It does not fit\. `--force`"):
        bench.run(Action.START)
    assert not bench.docker.held
    bench.run(Action.START, force=True)
    assert bench.docker.held["m"].lifecycle is Lifecycle.RUNNING
    # What runs is in nobody's way: that it is to run again changes nothing.
    bench.run(Action.START)


def test_a_restart_that_would_be_refused_interrupts_nothing(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.run(Action.START)
    first = bench.docker.held["m"]
    bench.obstacles = ("GPU 0 is used by a.",)
    with pytest.raises(Failed):
        bench.run(Action.RESTART)
    bench.obstacles, bench.digest, bench.docker.misses = (), "2", "The image is not here."
    with pytest.raises(Failed, match="The image is not here"):
        bench.run(Action.RESTART)
    assert bench.docker.held["m"] == first
    bench.docker.misses = ""
    bench.run(Action.RESTART)
    assert bench.docker.held["m"].id != first.id


def test_what_is_missing_is_refused_before_anything_is_made(bench: Bench) -> None:
    bench.docker.misses = "The name x is taken. Remove it with `docker rm x`."
    with pytest.raises(Failed, match="docker rm x"):
        bench.run(Action.START, force=True)
    assert not bench.docker.held


@pytest.mark.parametrize("wait", [True, False])
def test_it_is_checked_that_it_got_its_gpus(bench: Bench, ready: threading.Event, wait: bool) -> None:
    ready.set()
    bench.gpus, bench.docker.seen = ("GPU-a", "GPU-b"), ("GPU-b", "GPU-a")
    status = bench.run(Action.START, wait=wait)
    step = next(step for step in status.steps if step.kind is StepKind.GPUS)
    assert (step.outcome, step.detail) == (Outcome.DONE, "as planned")
    bench.run(Action.STOP)
    bench.docker.seen = None
    status = bench.run(Action.START, wait=wait)
    assert "cannot be told" in next(step.detail for step in status.steps if step.kind is StepKind.GPUS)


@pytest.mark.parametrize("stop_works", [True, False])
def test_what_got_other_gpus_is_stopped_again(bench: Bench, monkeypatch: pytest.MonkeyPatch, stop_works: bool) -> None:
    bench.gpus, bench.docker.seen = ("GPU-a",), ("GPU-b",)
    if not stop_works:

        def stop(name: str, timeout_s: float) -> None:
            raise OperationFailed("m does not end.")

        monkeypatch.setattr(bench.docker, "stop", stop)
    with pytest.raises(Failed, match="placed on GPU-a, and it got GPU-b") as failure:
        bench.run(Action.START)
    assert ("could not be stopped again: m does not end." in str(failure.value)) is not stop_works
    assert bench.docker.held["m"].lifecycle is (Lifecycle.EXITED if stop_works else Lifecycle.RUNNING)
    assert [step.kind for step in bench.journal.recent()[0].steps if step.outcome is Outcome.FAILED] == [StepKind.GPUS]


def test_a_kept_container_on_other_gpus_than_planned_is_made_anew(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.service = replace(bench.service, http="http://127.0.0.1:9")
    bench.gpus = bench.docker.seen = ("GPU-a",)
    bench.run(Action.START)
    first = bench.docker.held["m"].id
    bench.run(Action.STOP)
    bench.run(Action.START)
    assert bench.docker.held["m"].id == first
    bench.run(Action.STOP)
    bench.gpus = bench.docker.seen = ("GPU-b",)
    bench.run(Action.START)
    assert (bench.docker.held["m"].id != first, bench.docker.held["m"].gpus) == (True, ("GPU-b",))


def test_without_gpus_there_is_no_step_for_them(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    assert StepKind.GPUS not in [step.kind for step in bench.run(Action.START).steps]
