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
from engine.errors import Exit, RuntimeUnreachable
from engine.lease import LEASE, Holder
from engine.operation_json import to_json
from engine.operations.conductor import Conductor
from engine.plan import PortBinding
from engine.request import Action, Origin, Request
from engine.snapshot import OperationStatus, Outcome, StepKind
from engine.store import Entry, Journal
from tests.unit.holders import holder
from tests.unit.operations_bench import Bench, Failed, in_background, until


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
    assert "was stopped while it was starting" in str(errors[0])
    outcomes = {status.kind: status.outcome for status in bench.journal.recent()}
    assert outcomes == {"start": Outcome.ROLLED_BACK, "stop": Outcome.DONE}


def test_a_start_that_somebody_else_stops_tells_who(bench: Bench) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: bench.runs("m") and LEASE not in bench.docker.records)
    # Of another state folder: nothing of it is in this one's journal.
    bench.docker.records[LEASE] = holder("stop m", "bob").to_facts()
    bench.docker.end("m", 143)
    thread.join(10)
    assert "m was stopped while it was starting: stop m, by bob@" in str(errors[0])


def test_a_start_that_is_stopped_from_outside_is_told_with_what_remains(bench: Bench) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: bench.runs("m") and LEASE not in bench.docker.records)
    bench.docker.end("m", 143)
    thread.join(10)
    assert "m was stopped from outside while it was starting" in str(errors[0])
    assert "It is kept, with its log." in str(errors[0])
    assert bench.journal.recent()[0].outcome is Outcome.FAILED


def test_a_start_that_is_cancelled_leaves_nothing_behind(bench: Bench, ready: threading.Event) -> None:
    thread, errors = in_background(bench, Action.START)
    until(lambda: bench.runs("m"))
    bench.cancelled.set()
    thread.join(10)
    assert errors[0].status.outcome is Outcome.ROLLED_BACK
    assert not bench.docker.held
    assert not bench.docker.records, "its lease was taken again, and given back"


def test_a_cancelled_start_of_what_was_kept_keeps_it_stopped(bench: Bench, ready: threading.Event) -> None:
    bench.service = replace(bench.service, http="http://127.0.0.1:9")
    ready.set()
    bench.run(Action.START)
    bench.run(Action.STOP)
    first = bench.docker.held["m"]
    ready.clear()
    thread, errors = in_background(bench, Action.START)
    until(lambda: bench.runs("m"))
    bench.cancelled.set()
    thread.join(10)
    assert "m is stopped again" in str(errors[0])
    assert (bench.docker.held["m"].id, bench.runs("m")) == (first.id, False)


def test_not_ready_in_time_is_a_failure_that_leaves_it_running(bench: Bench) -> None:
    with pytest.raises(Failed, match="answers 400"):
        bench.run(Action.START, timeout_s=0.2)
    assert bench.docker.held["m"].lifecycle is Lifecycle.RUNNING


def test_what_could_not_be_started_leaves_nothing_behind(bench: Bench) -> None:
    bench.docker.start_error = "port is already allocated."
    with pytest.raises(Failed, match="already allocated"):
        bench.run(Action.START)
    assert not bench.docker.held


def test_what_could_not_be_started_nor_removed_is_said_to_remain(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(name: str) -> None:
        raise RuntimeUnreachable("docker does not answer.")

    bench.docker.start_error = "port is already allocated."
    monkeypatch.setattr(bench.docker, "remove", remove)
    with pytest.raises(
        Failed, match=r"already allocated\. It could not be rolled back: docker does not answer. m does not run"
    ):
        bench.run(Action.START)
    assert "could not be rolled back" in bench.journal.recent()[0].message


def test_a_taken_port_is_refused_before_anything_is_done(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bench.ports = (PortBinding("http", "127.0.0.1", taken.getsockname()[1], 8000),)
        with pytest.raises(Failed, match="in use"):
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
    with pytest.raises(Failed, match="runs on docker already"):
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
    with pytest.raises(Failed):
        bench.run(Action.START, runtime="docker")


def test_two_changes_at_once_are_refused(bench: Bench) -> None:
    holder = Holder.this_process("swap a → b", "1", Origin("alice", "box", 1, "10.0.0.7"))
    bench.docker.records[LEASE] = holder.to_facts()
    with pytest.raises(Failed, match=r"alice.*swap a → b") as failure:
        bench.run(Action.START)
    assert failure.value.status.exit_code == Exit.REFUSED
    assert bench.audited[-1].event == "refused"
    assert bench.docker.records[LEASE] == holder.to_facts()


def test_remove_stops_first_and_what_is_not_there_is_not_found(bench: Bench, ready: threading.Event) -> None:
    with pytest.raises(Failed):
        bench.run(Action.REMOVE)
    ready.set()
    bench.run(Action.START)
    bench.run(Action.REMOVE)
    assert not bench.docker.held


def test_a_stop_that_did_not_stop_it_is_a_failure(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.run(Action.START)
    bench.docker.stop_works = False
    with pytest.raises(Failed, match="still runs"):
        bench.run(Action.STOP)


def test_what_cannot_be_recorded_is_not_started_and_is_stopped_all_the_same(
    bench: Bench, ready: threading.Event, tmp_path: Path
) -> None:
    ready.set()
    bench.run(Action.START)
    blocked = tmp_path / "file"
    blocked.write_text("")
    whole, bench.tools = bench.tools, replace(bench.tools, journal=Journal(blocked / "history.sqlite"))
    bench.conductor = Conductor(bench.tools, bench.audited.append)
    assert bench.run(Action.STOP).outcome is Outcome.DONE
    with pytest.raises(Failed, match="cannot be written") as failure:
        bench.run(Action.START)
    assert failure.value.status.exit_code == Exit.REFUSED
    assert not bench.runs("m")
    assert whole.journal.recent()[0].kind == "start"


def test_an_operation_whose_process_is_gone_is_interrupted(bench: Bench) -> None:
    status = OperationStatus("1", "start", "m", (), time.time(), Outcome.RUNNING, "me")
    bench.journal.write(Entry(status, Request(Action.START, "m"), ""))
    assert bench.journal.recent()[0].outcome is Outcome.RUNNING
    with closing(sqlite3.connect(bench.settings.state_dir / "history.sqlite")) as database, database:
        database.execute("UPDATE journal SET pid_began = 1")
    assert bench.journal.recent()[0].outcome is Outcome.INTERRUPTED


def test_a_name_that_is_none_reaches_no_file(bench: Bench, tmp_path: Path) -> None:
    for name in ("../outside", "a\udcff", "\x1b]52;c;aGk=\x07", "a" * 300, ""):
        with pytest.raises(Failed, match="can be no deployment's name"):
            bench.run(Action.START, name)
    assert not list(tmp_path.rglob("locks"))
    assert not bench.docker.records
    assert not any("\x1b" in status.title for status in bench.journal.recent())


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
    status = OperationStatus("1", "start", "m", (), time.time(), Outcome.DONE, "me")
    journal.write(Entry(status, Request(Action.START, "m"), ""))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE journal SET status = 'nothing'")
        assert journal.recent_if_changed() is None
        assert "move it away" in journal.problem
        other.execute("UPDATE journal SET status = ?", (to_json(status),))
        assert len(journal.recent_if_changed() or ()) == 1
        assert not journal.problem
        assert journal.recent_if_changed() is None
        assert not journal.problem


def test_a_runtime_that_is_silent_for_a_while_fails_no_start(bench: Bench, ready: threading.Event) -> None:
    thread, errors = in_background(bench, Action.START)

    def told() -> str:
        return next((step.detail for status in bench.journal.recent() for step in status.steps[-2:-1]), "")

    until(lambda: bool(told()))
    bench.docker.unreachable = True
    until(lambda: "docker does not answer" in told())
    bench.docker.unreachable = False
    ready.set()
    thread.join(10)
    assert not errors


def test_a_server_of_somebody_else_on_its_port_is_not_taken_for_it(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.docker.strangers["m"] = "port 8001 is used by python3 (pid 77)"
    began = time.monotonic()
    with pytest.raises(Failed, match=r"m cannot answer: port 8001 is used by python3 \(pid 77\), which is none of its"):
        bench.run(Action.START)
    assert time.monotonic() - began < 5
    assert bench.docker.called.count(("create", "m")) == 1, "the port was asked for"


def test_an_automatic_port_that_was_taken_meanwhile_is_chosen_anew_once(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.ports = (PortBinding("http", "127.0.0.1", _free_port(), 8000, automatic=True),)
    bench.docker.strangers["m"] = "port 8001 is used by python3 (pid 77)"

    def chosen_anew(call: str, name: str, done: bool) -> None:
        if call == "remove":
            bench.docker.strangers.clear()

    bench.docker.hook = chosen_anew
    status = bench.run(Action.START)
    assert [call for call, _ in bench.docker.called] == ["create", "start", "stop", "remove", "create", "start"]
    assert [step.kind.value for step in status.steps] == [
        *("check", "create", "start", "wait", "stop", "remove", "check", "create", "start", "wait", "prompt")
    ]
    assert not any(step.undo for step in status.steps)
    assert not bench.docker.records
    bench.docker.hook = lambda *_: None
    bench.run(Action.STOP)
    bench.run(Action.REMOVE)
    bench.docker.strangers["m"] = "port 8002 is used by python3 (pid 78)"
    with pytest.raises(Failed, match="pid 78"):
        bench.run(Action.START)
    assert bench.docker.called.count(("create", "m")) == 4, "not for ever"


def test_cancelled_while_it_makes_way_nothing_is_left(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.ports = (PortBinding("http", "127.0.0.1", _free_port(), 8000, automatic=True),)
    bench.docker.strangers["m"] = "port 8001 is used by python3 (pid 77)"

    def cancel(status: OperationStatus) -> None:
        if any(step.kind is StepKind.WAIT and step.outcome is Outcome.FAILED for step in status.steps):
            bench.cancelled.set()

    bench.at = cancel
    with pytest.raises(Failed, match=r"It was cancelled\. m is removed") as failed:
        bench.run(Action.START)
    assert failed.value.status.outcome is Outcome.ROLLED_BACK
    assert not bench.docker.held
    assert not bench.docker.records


def test_one_that_was_kept_is_still_there_when_its_port_is_taken(bench: Bench, ready: threading.Event) -> None:
    ready.set()
    bench.service = replace(bench.service, http="http://127.0.0.1:9")
    bench.ports = (PortBinding("http", "127.0.0.1", _free_port(), 8000, automatic=True),)
    bench.run(Action.START)
    bench.run(Action.STOP)
    kept = bench.docker.held["m"].id
    bench.docker.strangers["m"] = "port 8001 is used by python3 (pid 77)"
    with pytest.raises(Failed, match="pid 77"):
        bench.run(Action.START)
    assert bench.docker.held["m"].id == kept


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
