"""What is left by an operation that was killed, and how it is settled; the table of kills is in test_swap_faults."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import Exit
from engine.plan import Adoption
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, StepKind
from engine.stacks.placement import NO_CREDIT
from tests.unit.model_server import Server
from tests.unit.operations_bench import Bench, Failed, Killed

MADE = Deployment(
    *("docker/x", "docker", "vllm", "id-by-hand", "image", Lifecycle.RUNNING),
    service=Service(Protocol.OPENAI, "", ""),
    created_at=1.0,
    started_at=1.0,
    foreign=True,
)
"""By hand"""


@pytest.fixture
def other() -> Iterator[Server]:
    one = Server()
    one.ready.set()
    yield one
    one.close()


@pytest.fixture
def both(bench: Bench, server: Server, other: Server) -> Iterator[Bench]:
    server.ready.set()
    bench.services["b"] = replace(bench.service, http=other.url, health=f"{other.url}/health")
    bench.run(Action.START, "a")
    yield bench
    assert all(len(running) <= 1 for running in bench.docker.ran), bench.docker.ran


def kill(bench: Bench, kind: StepKind, action: Action = Action.SWAP, name: str = "b", **options: object) -> str:
    """At a step's begin; the operation's id."""

    def strike(status: OperationStatus) -> None:
        if status.current and status.current.kind is kind:
            bench.kill()

    bench.at = strike
    if action is Action.SWAP:
        options = {"outgoing": ("a",), **options}
    with pytest.raises(Killed):
        bench.run(action, name, **options)
    bench.bury()
    return bench.journal.recent()[0].id


def failed(bench: Bench, action: Action, operation: str) -> OperationStatus:
    with pytest.raises(Failed) as failure:
        bench.run(action, operation)
    return failure.value.status


def settled_by(bench: Bench, operation: str) -> str:
    entry = bench.journal.entry(operation)
    assert entry
    return entry.status.settled_by


def test_the_lease_of_the_killed_is_taken_over_and_the_next_are_told_of_it(both: Bench) -> None:
    killed = kill(both, StepKind.CREATE)
    assert both.docker.records
    status = both.run(Action.FINISH, killed)
    assert any("swap a → b, begun" in note and "was taken over" in note for note in status.notes)
    assert not both.docker.records


def test_others_go_on_and_are_told_that_something_is_not_settled(both: Bench) -> None:
    kill(both, StepKind.CREATE)
    status = both.run(Action.START, "a")
    assert "swap a → b was interrupted and is not settled yet: see `tritontui recover`." in status.notes


def test_a_finish_is_named_for_what_it_finishes(both: Bench) -> None:
    killed = kill(both, StepKind.WAIT)
    titles: list[str] = []
    both.at = lambda status: titles.append(status.title)
    status = both.run(Action.FINISH, killed)
    assert set(titles) == {"finish a → b"}, "from the first moment on"
    assert (status.kind, status.target, status.outgoing) == ("finish", "b", ("a",))
    assert both.audited[-1].what == "finish a → b"
    with pytest.raises(Failed, match="There is nothing to settle about swap a → b: it is finished by") as again:
        both.run(Action.ROLL_BACK, killed)
    assert again.value.status.exit_code == Exit.REFUSED


def test_what_is_not_interrupted_is_not_settled(both: Bench) -> None:
    done = both.journal.recent()[0].id
    assert failed(both, Action.FINISH, done).exit_code == Exit.REFUSED
    assert failed(both, Action.FINISH, "f" * 32).exit_code == Exit.INVALID


def test_a_finish_that_fails_brings_back_what_served_before_the_swap(both: Bench, other: Server) -> None:
    """Though the outgoing did not run any more when the finish began."""
    killed = kill(both, StepKind.START)
    assert not both.runs("a")
    other.answers.clear()
    status = failed(both, Action.FINISH, killed)
    assert status.outcome is Outcome.ROLLED_BACK, status.message
    assert "a serves again, and answers." in status.message
    assert both.runs("a")
    assert list(both.docker.held) == ["a"]
    assert settled_by(both, killed).startswith("rolled back by")


def test_an_incoming_that_runs_and_does_not_answer_is_taken_back_by_its_finish(both: Bench, other: Server) -> None:
    killed = kill(both, StepKind.WAIT)
    assert both.runs("b")
    other.answers.clear()
    status = failed(both, Action.FINISH, killed)
    assert status.outcome is Outcome.ROLLED_BACK
    assert both.runs("a")
    assert settled_by(both, killed).startswith("rolled back by")


def test_an_incoming_that_has_ended_meanwhile_is_made_again(both: Bench) -> None:
    killed = kill(both, StepKind.WAIT)
    both.docker.end("b", 1)
    before = both.docker.held["b"].id
    assert both.run(Action.FINISH, killed).outcome is Outcome.DONE
    assert both.runs("b")
    assert both.docker.held["b"].id != before


def test_a_cancelled_finish_rolls_back(both: Bench, other: Server) -> None:
    killed = kill(both, StepKind.WAIT)
    other.ready.clear()

    def cancel(status: OperationStatus) -> None:
        if status.current and status.current.kind is StepKind.WAIT:
            both.cancelled.set()

    both.at = cancel
    status = failed(both, Action.FINISH, killed)
    assert status.outcome is Outcome.ROLLED_BACK
    assert status.cancelled
    assert both.runs("a")


def test_an_outgoing_that_runs_again_beside_the_incoming_is_stopped_by_the_finish(both: Bench) -> None:
    killed = kill(both, StepKind.PROMPT)
    both.docker.held["a"] = replace(both.docker.held["a"], lifecycle=Lifecycle.RUNNING)
    both.run(Action.FINISH, killed)
    assert both.runs("b")
    assert not both.runs("a")


def test_an_outgoing_that_is_gone_hinders_no_finish(both: Bench, other: Server) -> None:
    both.docker.goes_when_stopped.add("a")
    killed = kill(both, StepKind.START)
    assert not both.runs("a")
    status = both.run(Action.FINISH, killed)
    assert both.runs("b")
    assert status.steps[-1].detail == "gone: it was started with --rm"


def test_an_outgoing_that_is_gone_is_made_anew_when_the_finish_fails(both: Bench, other: Server) -> None:
    both.docker.goes_when_stopped.add("a")
    killed = kill(both, StepKind.START)
    other.answers.clear()
    assert failed(both, Action.FINISH, killed).outcome is Outcome.ROLLED_BACK
    assert list(both.docker.held) == ["a"]
    assert both.runs("a")


@pytest.mark.parametrize("gone", ["a", "b"])
def test_what_runs_is_rolled_back_to_without_a_profile(both: Bench, gone: str) -> None:
    killed = kill(both, StepKind.WAIT)
    both.unknown.add(gone)
    assert both.run(Action.ROLL_BACK, killed).outcome is Outcome.DONE
    assert both.runs("a")
    assert list(both.docker.held) == ["a"]


def test_what_runs_is_finished_without_a_profile(both: Bench) -> None:
    killed = kill(both, StepKind.WAIT)
    both.unknown |= {"a", "b"}
    assert both.run(Action.FINISH, killed).outcome is Outcome.DONE


def test_what_cannot_be_planned_any_more_stays_unsettled_and_can_still_be_rolled_back(both: Bench) -> None:
    killed = kill(both, StepKind.START)
    both.unknown.add("b")
    status = failed(both, Action.FINISH, killed)
    assert status.exit_code == Exit.INVALID
    assert not settled_by(both, killed)
    both.run(Action.ROLL_BACK, killed)
    assert both.runs("a")


def test_what_was_killed_before_it_was_accepted_is_not_forced_by_its_finish(both: Bench) -> None:
    both.obstacles = ("It does not fit.",)
    killed = kill(both, StepKind.CHECK)
    status = failed(both, Action.FINISH, killed)
    assert status.exit_code == Exit.REFUSED
    assert both.runs("a")
    assert both.run(Action.ROLL_BACK, killed).message == "Nothing had been changed."


@pytest.mark.parametrize("second", [Action.FINISH, Action.ROLL_BACK])
@pytest.mark.parametrize("first", [Action.FINISH, Action.ROLL_BACK])
def test_a_settling_that_is_itself_killed_is_settled_with_what_it_was_to_settle(
    both: Bench, first: Action, second: Action
) -> None:
    swap = kill(both, StepKind.WAIT)
    settling = kill(both, StepKind.WAIT, first, swap)
    assert [one.unsettled for one in both.journal.recent()[:2]] == [True, True]
    assert both.journal.recent()[0].subjects == ("b", "a")
    status = both.run(second, settling)
    assert status.outcome is Outcome.DONE, status.message
    assert both.runs("b" if second is Action.FINISH else "a")
    assert not any(one.unsettled for one in both.journal.recent())
    assert settled_by(both, swap) == settled_by(both, settling)


def test_to_settle_the_first_settles_the_tries_to_settle_it(both: Bench) -> None:
    swap = kill(both, StepKind.WAIT)
    settling = kill(both, StepKind.STOP, Action.ROLL_BACK, swap)
    both.run(Action.ROLL_BACK, swap)
    assert settled_by(both, settling).startswith("rolled back by")
    assert list(both.docker.held) == ["a"]


def test_two_that_were_interrupted_are_settled_one_by_one(both: Bench) -> None:
    first = kill(both, StepKind.CREATE)
    second = kill(both, StepKind.WAIT, Action.START, "a")
    both.run(Action.FINISH, second)
    assert not settled_by(both, first)
    both.run(Action.ROLL_BACK, first)
    assert both.runs("a")
    assert not any(one.unsettled for one in both.journal.recent())


@pytest.mark.parametrize("action", [Action.STOP, Action.REMOVE])
def test_what_was_to_go_and_is_gone_is_finished(both: Bench, action: Action) -> None:
    killed = kill(both, StepKind.STOP, action, "a")
    del both.docker.held["a"]
    assert both.run(Action.FINISH, killed).message == "a is gone already."


def test_a_restart_that_was_killed_before_it_stopped_anything_is_carried_out(both: Bench) -> None:
    killed = kill(both, StepKind.STOP, Action.RESTART, "a")
    both.docker.called.clear()
    both.run(Action.FINISH, killed)
    assert both.docker.called[0] == ("stop", "a")
    assert both.runs("a")


def test_a_journal_that_cannot_be_read_is_said(both: Bench) -> None:
    killed = kill(both, StepKind.WAIT)
    with closing(sqlite3.connect(both.settings.state_dir / "history.sqlite")) as database, database:
        database.execute("UPDATE journal SET context = '{\"incoming\": 1}' WHERE id = ?", (killed,))
    status = failed(both, Action.ROLL_BACK, killed)
    assert "cannot be read" in status.message
    assert "start or stop them by hand" in status.message


def test_that_it_could_not_be_marked_is_said(both: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = kill(both, StepKind.WAIT)
    never: Callable[..., bool] = lambda *_: False  # noqa: E731
    monkeypatch.setattr(both.journal, "settle", never)
    status = both.run(Action.FINISH, killed)
    assert any("swap a → b goes on being shown as interrupted" in note for note in status.notes)


def test_a_cancelled_settling_that_did_nothing_yet_says_so(both: Bench) -> None:
    killed = kill(both, StepKind.WAIT)
    both.cancelled.set()
    status = failed(both, Action.ROLL_BACK, killed)
    assert (status.outcome, status.message) == (Outcome.ROLLED_BACK, "It was cancelled. Nothing was changed.")
    assert not settled_by(both, killed)


@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
def test_what_was_overtaken_by_hand_is_left_alone(both: Bench, settling: Action) -> None:
    operation = kill(both, StepKind.WAIT)
    both.run(Action.REMOVE, "b")
    both.run(Action.START, "b")
    assert "start b has been done since" in both.run(settling, operation).message
    assert both.runs("b")
    assert "overtaken" in settled_by(both, operation)


@pytest.mark.parametrize("kind", [StepKind.PROFILE, StepKind.ADOPT])
@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
def test_an_adoption_that_was_killed_is_finished_or_undone_whole(
    bench: Bench, kind: StepKind, settling: Action, tmp_path: Path
) -> None:
    launch = bench.plan("x", None, NO_CREDIT).launch
    bench.docker.outside["docker/x"] = replace(MADE, service=bench.service)
    path = tmp_path / "profiles" / "x.yaml"
    bench.adoptions["docker/x"] = Adoption("x", "x", MADE.id, str(path), "name: x\n", launch)
    operation = kill(bench, kind, Action.ADOPT, "docker/x")
    if kind is StepKind.ADOPT:
        path.write_text("name: x\n")  # a true kill takes nothing back
    bench.at = lambda _: None
    bench.run(settling, operation)
    adopted = settling is Action.FINISH
    assert path.exists() is adopted
    assert ("x" in bench.docker.held, "docker/x" in bench.docker.outside) == (adopted, not adopted)
    assert not bench.journal.recent()[-1].unsettled


@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
@pytest.mark.parametrize("action", [Action.SWAP, Action.STOP, Action.REMOVE])
def test_that_another_runtime_is_silent_hinders_no_settling(both: Bench, action: Action, settling: Action) -> None:
    operation = kill(both, StepKind.STOP, action, "b" if action is Action.SWAP else "a")
    both.process.unreachable = True
    both.at = lambda _: None
    assert both.run(settling, operation).outcome is Outcome.DONE
    serves = (
        {Action.SWAP: {"b"}, Action.STOP: set(), Action.REMOVE: set()}[action] if settling is Action.FINISH else {"a"}
    )
    assert {name for name in ("a", "b") if both.runs(name)} == serves
