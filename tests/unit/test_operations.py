"""Operations against a runtime in memory and a real HTTP server that is ready when the test says so."""

import socket
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.deployment import Lifecycle
from engine.errors import NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.operations.lock import exclusive
from engine.operations.record import Abandoned
from engine.plan import PortBinding
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome
from engine.store import Journal
from tests.unit.operations_bench import Bench, in_background, until


def test_a_start_is_done_when_the_server_is_ready(bench: Bench, ready: threading.Event) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: "m" in bench.docker.held and bench.docker.held["m"].lifecycle is Lifecycle.RUNNING)
    assert thread.is_alive()
    assert bench.journal.recent()[0].outcome is Outcome.RUNNING
    ready.set()
    thread.join(10)
    assert not errors
    last = bench.journal.recent()[0]
    assert last.outcome is Outcome.DONE
    assert all(step.outcome is Outcome.DONE for step in last.steps)


def test_a_server_that_ends_while_starting_fails_with_its_last_words(bench: Bench) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: bench.docker.held.get("m") is not None and bench.docker.held["m"].lifecycle is Lifecycle.RUNNING)
    bench.docker.change("m", lifecycle=Lifecycle.EXITED, exit_code=1)
    thread.join(10)
    assert "exit code 1" in str(errors[0])
    assert "Error: no model" in str(errors[0])
    assert bench.journal.recent()[0].outcome is Outcome.FAILED
    assert "m" in bench.docker.held, "its log must stay readable"


def test_a_start_that_was_stopped_is_cancelled_not_failed(bench: Bench) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: bench.docker.held.get("m") is not None and bench.docker.held["m"].lifecycle is Lifecycle.RUNNING)
    bench.run(Action.STOP)
    thread.join(10)
    assert isinstance(errors[0], Abandoned)
    outcomes = {status.kind: status.outcome for status in bench.journal.recent()}
    assert outcomes == {"start": Outcome.CANCELLED, "stop": Outcome.DONE}


def test_closing_the_console_leaves_the_start_to_itself(bench: Bench) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: bench.docker.held.get("m") is not None and bench.docker.held["m"].lifecycle is Lifecycle.RUNNING)
    bench.conductor.closing.set()
    thread.join(10)
    assert isinstance(errors[0], Abandoned)
    assert bench.docker.held["m"].lifecycle is Lifecycle.RUNNING


def test_not_ready_in_time_is_a_failure_that_leaves_it_running(bench: Bench) -> None:
    with pytest.raises(OperationFailed, match="answers 400"):
        bench.run(Action.START, timeout_s=0.2)
    assert bench.docker.held["m"].lifecycle is Lifecycle.RUNNING


def test_what_could_not_be_started_leaves_nothing_behind(bench: Bench) -> None:
    bench.docker.start_error = "port is already allocated."
    with pytest.raises(OperationFailed, match="already allocated"):
        bench.run(Action.START)
    assert not bench.docker.held


def test_what_could_not_be_started_nor_removed_is_said_to_remain(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(name: str) -> None:
        raise RuntimeUnreachable("docker does not answer.")

    bench.docker.start_error = "port is already allocated."
    monkeypatch.setattr(bench.docker, "remove", remove)
    with pytest.raises(OperationFailed, match=r"already allocated\. What was created is still there: docker does not"):
        bench.run(Action.START)
    assert "still there" in bench.journal.recent()[0].message


def test_a_taken_port_is_refused_before_anything_is_done(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bench.ports = (PortBinding("http", "127.0.0.1", taken.getsockname()[1], 8000),)
        with pytest.raises(Refused, match="in use"):
            bench.run(Action.START)
    assert not bench.docker.held


def test_a_kept_deployment_is_started_again_unless_its_profile_changed(bench: Bench, ready: threading.Event) -> None:
    bench.service = replace(bench.service, http="http://127.0.0.1:9")  # its own port must be free to be reused
    ready.set()
    bench.run(Action.START)
    first = bench.docker.held["m"].id
    bench.run(Action.STOP)
    bench.run(Action.START)
    assert bench.docker.held["m"].id == first
    bench.run(Action.STOP)
    bench.digest = "2"
    bench.run(Action.START)
    assert bench.docker.held["m"].id != first


def test_one_name_runs_in_one_place(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.run(Action.START)
    with pytest.raises(Refused, match="runs on docker already"):
        bench.run(Action.START, runtime="process")
    bench.run(Action.STOP)
    bench.run(Action.START, runtime="process")
    assert not bench.docker.held
    assert "m" in bench.process.held


def test_another_runtime_that_is_silent_does_not_hinder_a_start(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.docker.unreachable = True
    bench.run(Action.START, runtime="process")
    assert bench.process.held["m"].lifecycle is Lifecycle.RUNNING
    bench.run(Action.STOP)
    with pytest.raises(RuntimeUnreachable):
        bench.run(Action.START, runtime="docker")


def test_two_changes_at_once_are_refused(bench: Bench) -> None:
    with exclusive(bench.settings.state_dir / "locks", "m"), pytest.raises(Refused, match="being changed"):
        bench.run(Action.START)


def test_remove_stops_first_and_what_is_not_there_is_not_found(bench: Bench, ready: threading.Event) -> None:
    with pytest.raises(NotFound):
        bench.run(Action.REMOVE)
    ready.set()
    bench.run(Action.START)
    bench.run(Action.REMOVE)
    assert not bench.docker.held


def test_a_stop_that_did_not_stop_it_is_a_failure(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.run(Action.START)
    bench.docker.stop_works = False
    with pytest.raises(OperationFailed, match="still runs"):
        bench.run(Action.STOP)


def test_a_journal_that_cannot_be_written_stops_nothing(bench: Bench, ready: threading.Event, tmp_path: Path) -> None:
    ready.set()
    blocked = tmp_path / "file"
    blocked.write_text("")
    bench.conductor._journal = Journal(blocked / "history.sqlite")
    assert bench.run(Action.START).outcome is Outcome.DONE
    assert "cannot be written" in bench.conductor._journal.problem


def test_an_operation_whose_process_is_gone_is_interrupted(bench: Bench) -> None:
    status = OperationStatus("1", "start", "m", (), time.time(), Outcome.RUNNING, "me")
    bench.journal.write(status)
    assert bench.journal.recent()[0].outcome is Outcome.RUNNING
    with bench.journal._connect() as database:
        database.execute("UPDATE operations SET pid_began = 1")
    assert bench.journal.recent()[0].outcome is Outcome.INTERRUPTED


def test_a_name_that_is_none_reaches_no_file(bench: Bench, tmp_path: Path) -> None:
    for name in ("../outside", "a\udcff", "\x1b]52;c;aGk=\x07", "a" * 300, ""):
        with pytest.raises(NotFound, match="can be no deployment's name"):
            bench.conductor.run(Action.START, name)
    assert not list(tmp_path.rglob("*.lock"))
    assert not bench.journal.recent()


def test_what_breaks_off_unforeseen_is_a_failure_with_no_step_under_way(bench: Bench) -> None:
    bench.docker.start = lambda name: 1 / 0  # type: ignore[assignment, method-assign]
    with pytest.raises(ZeroDivisionError):
        bench.run(Action.START)
    last = bench.journal.recent()[0]
    assert last.outcome is Outcome.FAILED
    assert last.current is None


def test_a_journal_that_was_locked_or_damaged_is_told_until_it_is_well(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    journal = Journal(path)
    journal.write(OperationStatus("1", "start", "m", (), time.time(), Outcome.DONE, "me"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE operations SET steps = 'nothing'")
        assert journal.recent_if_changed() is None
        assert "move it away" in journal.problem
        other.execute("UPDATE operations SET steps = '[]'")
        assert len(journal.recent_if_changed() or ()) == 1
        assert not journal.problem
        assert journal.recent_if_changed() is None
        assert not journal.problem


def test_a_runtime_that_is_silent_for_a_while_fails_no_start(bench: Bench, ready: threading.Event) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: any("400" in status.steps[3].detail for status in bench.journal.recent()))
    bench.docker.unreachable = True
    until(lambda: bench.journal.recent()[0].steps[3].detail not in ("", "its health endpoint answers 400"))
    bench.docker.unreachable = False
    ready.set()
    thread.join(10)
    assert not errors
