"""An outgoing one that ends while it is brought back: it is started once more, and not for ever."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.errors import OperationFailed
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, StepKind
from tests.unit.model_server import Server
from tests.unit.operations_bench import Bench, Failed


@pytest.fixture
def other() -> Iterator[Server]:
    """Where b answers."""
    one = Server()
    one.ready.set()
    yield one
    one.close()


@pytest.fixture
def both(bench: Bench, server: Server, other: Server) -> Iterator[Bench]:
    """a serves, and b is to come in its place; never may both run at once."""
    server.ready.set()
    bench.services["b"] = replace(bench.service, http=other.url, health=f"{other.url}/health")
    bench.run(Action.START, "a")
    bench.docker.called.clear()
    yield bench
    assert all(len(running) <= 1 for running in bench.docker.ran), bench.docker.ran
    assert not bench.docker.records


def failed(bench: Bench) -> OperationStatus:
    with pytest.raises(Failed) as failure:
        bench.run(Action.SWAP, "b", outgoing=("a",))
    return failure.value.status


def ending(bench: Bench, kind: StepKind, times: int, answers: threading.Event) -> None:
    """The outgoing ends of itself so many times, at that step of rolling back, and answers when it is started again."""
    left = times

    def end(status: OperationStatus) -> None:
        nonlocal left
        step = status.current
        if step and step.undo and (step.kind, step.subject) == (kind, "a") and left and bench.runs("a"):
            left -= 1
            bench.docker.end("a", 137)
            answers.clear()
        elif step and step.undo and step.kind is StepKind.START:
            answers.set()

    bench.at = end


@pytest.mark.parametrize("kind", [StepKind.WAIT, StepKind.PROMPT])
def test_an_outgoing_that_ends_while_it_comes_back_is_started_once_more(
    both: Bench, server: Server, other: Server, kind: StepKind
) -> None:
    other.answers.clear()
    ending(both, kind, 1, server.answers)
    status = failed(both)
    assert status.outcome is Outcome.ROLLED_BACK, status.message
    assert both.docker.called[-2:] == [("start", "a"), ("start", "a")]
    assert status.message.endswith("a serves again, and answers.")
    proof = [StepKind.START, StepKind.WAIT, StepKind.PROMPT]
    of_a = [(step.kind, step.outcome) for step in status.steps if step.undo and step.subject == "a"]
    assert [step for step, _ in of_a] == [*proof[: proof.index(kind) + 1], *proof]
    assert [outcome for _, outcome in of_a].count(Outcome.FAILED) == 1
    starts = [step.detail for step in status.steps if step.undo and step.kind is StepKind.START]
    assert starts == ["", "once more: a ended before it was ready (exit code 137). Its last words: Error: no model"]


def test_an_outgoing_that_ends_again_is_not_started_for_ever(both: Bench, server: Server, other: Server) -> None:
    other.answers.clear()
    ending(both, StepKind.WAIT, 9, server.answers)
    status = failed(both)
    assert status.outcome is Outcome.FAILED
    assert both.docker.called.count(("start", "a")) == 2
    assert "a ended before it was ready (exit code 137)" in status.message
    assert "It was started once more: a ended before it was ready" in status.message
    assert status.message.endswith("a does not run.")


def test_an_outgoing_that_was_never_touched_and_has_ended_is_started(both: Bench, server: Server) -> None:
    def refuse(call: str, name: str, done: bool) -> None:
        if (call, name) == ("create", "b"):
            raise OperationFailed("The daemon refuses.")

    both.docker.hook = refuse
    ending(both, StepKind.WAIT, 1, server.answers)
    status = failed(both)
    assert status.outcome is Outcome.ROLLED_BACK
    assert status.message == "The daemon refuses. a serves again, and answers."
    assert both.runs("a")
