"""Swaps over a runtime in memory: in what order, and what is left of each that does not succeed."""

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from engine.deployment import Lifecycle
from engine.errors import Exit, OperationFailed
from engine.plan import PortBinding
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, StepKind
from engine.stacks.placement import NO_CREDIT
from tests.unit.model_server import Server
from tests.unit.operations_bench import Bench, Failed, in_background, until


@pytest.fixture
def other() -> Iterator[Server]:
    """Where b answers."""
    one = Server()
    one.ready.set()
    yield one
    one.close()


@pytest.fixture
def both(bench: Bench, ready: threading.Event, other: Server) -> Iterator[Bench]:
    """a serves, and b is to come in its place; never may both run at once."""
    ready.set()
    bench.services["b"] = replace(bench.service, http=other.url, health=f"{other.url}/health")
    bench.run(Action.START, "a")
    bench.docker.called.clear()
    yield bench
    assert all(len(running) <= 1 for running in bench.docker.ran), bench.docker.ran
    assert not bench.docker.records
    assert not bench.process.records


def swap(bench: Bench, outgoing: object = ("a",), **options: object) -> OperationStatus:
    return bench.run(Action.SWAP, "b", outgoing=outgoing, **options)


def failed(bench: Bench, **options: object) -> OperationStatus:
    with pytest.raises(Failed) as failure:
        swap(bench, **options)
    status = failure.value.status
    assert status.current is None
    assert bench.journal.recent()[0] == status
    assert status.exit_code not in (None, Exit.DONE)
    return status


def kinds(status: OperationStatus, *, undo: bool) -> list[tuple[StepKind, str, Outcome | None]]:
    return [(step.kind, step.subject, step.outcome) for step in status.steps if step.undo is undo]


# -- done -------------------------------------------------------------------------------------------------------------


def test_the_incoming_is_made_while_the_outgoing_serves_and_started_when_that_has_stopped(both: Bench) -> None:
    status = swap(both)
    assert both.docker.called == [("create", "b"), ("stop", "a"), ("start", "b")]
    assert both.docker.held["a"].lifecycle is Lifecycle.EXITED
    assert both.runs("b")
    assert all(step.outcome is Outcome.DONE for step in status.steps)
    assert [step.kind.value for step in status.steps] == [
        *("check", "create", "drain", "stop", "start", "wait", "prompt", "let go")
    ]
    assert (status.title, status.exit_code) == ("swap a → b", Exit.DONE)
    assert "a is stopped" in status.message
    back = both.run(Action.SWAP, "a", outgoing=("b",))
    assert "b is stopped" in back.message


def test_the_outgoing_is_removed_when_that_is_asked_for_and_only_at_the_end(both: Bench) -> None:
    status = swap(both, remove_outgoing=True)
    assert both.docker.called[-1] == ("remove", "a")
    assert list(both.docker.held) == ["b"]
    assert "a is removed" in status.message


def test_an_outgoing_that_does_not_run_is_left_as_it_is(both: Bench) -> None:
    both.run(Action.STOP, "a")
    both.docker.called.clear()
    status = swap(both)
    assert both.docker.called == [("create", "b"), ("start", "b")]
    assert StepKind.STOP not in {step.kind for step in status.steps}


def test_what_an_outgoing_that_crashes_meanwhile_leaves_behind_is_waited_for(both: Bench) -> None:
    def crash(call: str, name: str, done: bool) -> None:
        if (call, name, done) == ("create", "b", True):
            both.docker.end("a", 1)

    both.docker.hook = crash
    status = swap(both)
    assert [call for call in both.docker.called if call[0] != "deployments"][-3:] == [
        ("create", "b"),
        ("stop", "a"),
        ("start", "b"),
    ]
    (stopped,) = (step for step in status.steps if step.kind is StepKind.STOP)
    assert stopped.detail == "it was not running"


def test_two_go_for_one(both: Bench) -> None:
    both.docker.ran.clear()
    both.run(Action.START, "c")
    both.docker.called.clear()
    status = swap(both, ("a", "c"))
    assert both.docker.called == [("create", "b"), ("stop", "a"), ("stop", "c"), ("start", "b")]
    assert "a and c are stopped" in status.message
    both.docker.ran = [running for running in both.docker.ran if not running >= {"a", "c"}]


def test_one_that_its_engine_brought_back_meanwhile_is_stopped_again(both: Bench) -> None:
    """A restart policy, and a restart of Docker: two would share a GPU from then on."""

    def bring_back(status: OperationStatus) -> None:
        if status.current and status.current.kind is StepKind.LET_GO and len(both.docker.called) == 3:
            both.docker.held["a"] = replace(both.docker.held["a"], lifecycle=Lifecycle.RUNNING)

    both.at = bring_back
    swap(both)
    assert not both.runs("a")
    assert both.docker.called[3:] == [("stop", "a")]


# -- refused ----------------------------------------------------------------------------------------------------------


def refused(bench: Bench, **options: object) -> OperationStatus:
    status = failed(bench, **options)
    assert (status.outcome, status.exit_code) == (Outcome.FAILED, Exit.REFUSED)
    assert not bench.docker.called, "nothing may be touched"
    assert bench.runs("a")
    return status


def test_what_does_not_fit_is_refused_unless_forced(both: Bench) -> None:
    both.obstacles = ("It does not fit on GPU 0",)
    assert "does not fit on GPU 0. `--force` starts it" in refused(both).message
    swap(both, force=True)
    assert both.runs("b")


def test_a_port_that_nobody_frees_is_refused(both: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        both.ports = (PortBinding("http", "127.0.0.1", taken.getsockname()[1], 8000),)
        assert "in use on 127.0.0.1" in refused(both).message


def test_the_port_of_the_outgoing_is_free_by_then(both: Bench) -> None:
    port = int(both.service.http.rpartition(":")[2])
    both.ports = (PortBinding("http", "127.0.0.1", port, 8000),)
    swap(both)


def test_an_image_that_is_missing_is_refused(both: Bench) -> None:
    both.docker.misses = "The image nvcr.io/nvidia/tritonserver:99 is not here."
    assert "is not here" in refused(both).message


def test_an_incoming_that_runs_is_refused(both: Bench) -> None:
    both.docker.ran.clear()
    both.run(Action.START, "b")
    both.docker.called.clear()
    assert "b runs already" in refused(both).message
    both.docker.ran.clear()


def test_an_outgoing_that_there_is_not_is_not_found(both: Bench) -> None:
    with pytest.raises(Failed) as failure:
        swap(both, ("nobody",))
    assert failure.value.status.exit_code == Exit.INVALID


def test_what_could_not_be_recorded_is_refused(both: Bench) -> None:
    both.journal.works = False
    with pytest.raises(Failed, match="could not be rolled back after a crash") as failure:
        swap(both)
    assert failure.value.status.exit_code == Exit.REFUSED
    assert both.runs("a")


# -- rolled back ------------------------------------------------------------------------------------------------------


def rolled_back(bench: Bench, **options: object) -> OperationStatus:
    """And the outgoing serves again."""
    status = failed(bench, **options)
    assert (status.outcome, status.exit_code) == (Outcome.ROLLED_BACK, Exit.FAILED)
    assert list(bench.docker.held) == ["a"]
    assert bench.runs("a")
    proof = [(StepKind.WAIT, "a", Outcome.DONE), (StepKind.PROMPT, "a", Outcome.DONE)]
    assert kinds(status, undo=True)[-2:] == proof
    assert "serves again, and answers." in status.message
    return status


def test_memory_that_is_never_free_brings_the_outgoing_back(both: Bench) -> None:
    both.gpus = ("GPU-1",)
    both.memory_error = "GPU 0 has 20 GiB too little."
    status = rolled_back(both)
    assert status.message.startswith("GPU 0 has 20 GiB too little. b is removed. a serves again")
    assert ("start", "b") not in both.docker.called


def test_what_cannot_be_made_leaves_the_outgoing_untouched(both: Bench) -> None:
    running_since = both.docker.held["a"].started_at
    both.docker.hook = _refusing("create", "b")
    status = failed(both)
    assert (status.outcome, status.exit_code) == (Outcome.ROLLED_BACK, Exit.FAILED)
    assert status.message == "The daemon refuses. a still serves, and answers."
    assert not both.docker.called
    assert both.docker.held["a"].started_at == running_since
    assert StepKind.START not in {step.kind for step in status.steps if step.undo}


def kept(status: OperationStatus, bench: Bench) -> str:
    [path] = (bench.settings.state_dir / "logs").iterdir()
    assert status.log_path == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path.read_text()


def test_one_that_exits_leaves_its_log_under_the_cause_and_no_secret_in_it(both: Bench, other: Server) -> None:
    other.ready.clear()
    secret = "hf_" + "a" * 34
    both.docker.log = f"2026-01-01T00:00:00.000000000Z Error: \x1b[31mno {secret}\n".encode()
    thread, errors = in_background(both, Action.SWAP, "b", outgoing=("a",))
    until(lambda: both.runs("b"))
    both.docker.end("b", 137)
    thread.join(10)
    [error] = errors
    assert error.status.outcome is Outcome.ROLLED_BACK
    cause, line = kept(error.status, both).splitlines()
    assert cause == "# b ended before it was ready (exit code 137). Its last words: Error: no hf_***"
    assert line == "2026-01-01T00:00:00.000000000Z Error: no hf_***"
    assert secret not in str(error.status) + str(both.journal.entry(error.status.id))
    assert f"b is removed; its log is kept in {error.status.log_path}. a serves again" in error.status.message
    assert both.runs("a")


def test_one_that_is_never_ready(both: Bench, other: Server) -> None:
    other.ready.clear()
    status = rolled_back(both, timeout_s=0.1)
    assert "b was not ready within 0.1 s: its health endpoint answers 400" in kept(status, both).splitlines()[0]
    assert kinds(status, undo=True)[:3] == [
        (StepKind.STOP, "b", Outcome.DONE),
        (StepKind.KEEP_LOG, "b", Outcome.DONE),
        (StepKind.REMOVE, "b", Outcome.DONE),
    ]


def test_one_that_is_ready_and_answers_errors(both: Bench, other: Server) -> None:
    other.answers.clear()
    status = rolled_back(both)
    assert "says that it is ready, but it did not answer a prompt" in status.message
    assert kinds(status, undo=False)[-1] == (StepKind.PROMPT, "b", Outcome.FAILED)


def test_one_that_cannot_be_started_has_no_log(both: Bench) -> None:
    both.docker.hook = _refusing("start", "b")
    assert rolled_back(both).message.startswith("The daemon refuses. b is removed. a serves again")
    assert not (both.settings.state_dir / "logs").exists()


def test_a_log_that_cannot_be_kept_holds_up_nothing(both: Bench, other: Server) -> None:
    other.answers.clear()
    both.settings.state_dir.joinpath("logs").write_text("in the way")
    assert "its log could not be kept" in rolled_back(both).message


def test_a_full_disk_holds_up_nothing_and_leaves_no_half_log(
    both: Bench, other: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.answers.clear()

    def full(_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fdopen = os.fdopen

    def writer(descriptor: int, *given: object, **named: object) -> object:
        file = fdopen(descriptor, *given, **named)  # type: ignore[call-overload]
        file.write = full
        return file

    monkeypatch.setattr(os, "fdopen", writer)
    status = rolled_back(both)
    assert "its log could not be kept ([Errno 28] No space left on device)" in status.message
    assert not list((both.settings.state_dir / "logs").iterdir())


def test_an_outgoing_that_is_gone_when_it_stops_is_made_anew(both: Bench, other: Server) -> None:
    other.answers.clear()
    both.docker.goes_when_stopped.add("a")
    rolled_back(both)
    assert both.docker.called[-2:] == [("create", "a"), ("start", "a")]


def test_a_cancelled_swap_brings_the_outgoing_back(both: Bench, other: Server) -> None:
    other.ready.clear()
    thread, errors = in_background(both, Action.SWAP, "b", outgoing=("a",))
    until(lambda: both.runs("b"))
    both.cancelled.set()
    thread.join(10)
    [error] = errors
    assert error.status.cancelled
    assert error.status.outcome is Outcome.ROLLED_BACK
    assert error.status.message.startswith("It was cancelled. b is removed")
    assert both.runs("a")


def test_what_was_kept_of_the_incoming_is_kept_again(both: Bench, other: Server) -> None:
    both.services["b"] = replace(both.services["b"], http="http://127.0.0.1:9")  # its own port has to be free
    both.docker.create(both.plan("b", None, NO_CREDIT).launch)
    both.docker.end("b", 0)
    before = both.docker.held["b"].id
    status = failed(both)
    assert status.outcome is Outcome.ROLLED_BACK
    assert "b is stopped again. a serves again" in status.message
    assert both.docker.held["b"].id == before
    assert both.runs("a")


# -- failed -----------------------------------------------------------------------------------------------------------


def test_when_neither_serves_that_is_said(both: Bench, other: Server, ready: threading.Event) -> None:
    other.answers.clear()
    both.docker.hook = _refusing("start", "a")
    status = failed(both)
    assert status.outcome is Outcome.FAILED
    assert "could not be rolled back: The daemon refuses." in status.message
    assert status.message.endswith("a does not run.")
    assert list(both.docker.held) == ["a"]


def test_an_outgoing_that_runs_again_and_does_not_answer_is_told(both: Bench, server: Server, other: Server) -> None:
    other.answers.clear()
    server.answers.clear()
    status = failed(both)
    assert status.outcome is Outcome.FAILED
    assert status.message.endswith("a runs.")
    assert "a says that it is ready, but it did not answer" in status.message


def test_an_incoming_that_cannot_be_stopped_keeps_the_outgoing_out(both: Bench, other: Server) -> None:
    other.answers.clear()

    def stuck(call: str, name: str, done: bool) -> None:
        both.docker.stop_works = name != "b"

    both.docker.hook = stuck
    status = failed(both)
    assert status.outcome is Outcome.FAILED
    assert "b was told to stop and still runs" in status.message
    assert status.message.endswith("a does not run. b runs.")


def test_an_incoming_that_cannot_be_removed_keeps_nobody_out(both: Bench, other: Server) -> None:
    other.answers.clear()

    both.docker.hook = _refusing("remove", "b")
    status = failed(both)
    assert status.outcome is Outcome.FAILED
    assert "The daemon refuses." in status.message
    assert status.message.endswith("a runs. b does not run.")
    assert kinds(status, undo=True)[-1] == (StepKind.PROMPT, "a", Outcome.DONE)


def test_of_two_the_second_comes_back_though_the_first_does_not(both: Bench, other: Server) -> None:
    both.docker.ran.clear()
    both.run(Action.START, "c")
    other.answers.clear()
    both.docker.hook = _refusing("start", "a")
    status = failed(both, outgoing=("a", "c"))
    assert status.outcome is Outcome.FAILED
    assert status.message.endswith("a does not run. c runs.")
    both.docker.ran.clear()


def test_what_serves_is_said_when_the_outgoing_cannot_be_let_go(both: Bench) -> None:
    both.docker.hook = _refusing("remove", "a")
    status = failed(both, remove_outgoing=True)
    assert status.outcome is Outcome.FAILED
    assert status.message == "b serves. What it replaced could not be let go: The daemon refuses."
    assert both.runs("b")


def test_letting_go_is_not_cancelled(both: Bench) -> None:
    def cancel(status: OperationStatus) -> None:
        if status.current and status.current.kind is StepKind.LET_GO:
            both.cancelled.set()

    both.at = cancel
    assert swap(both).outcome is Outcome.DONE


def _refusing(call: str, name: str) -> Callable[[str, str, bool], None]:
    def refuse(asked: str, of: str, done: bool) -> None:
        if (asked, of) == (call, name):
            raise OperationFailed("The daemon refuses.")

    return refuse
