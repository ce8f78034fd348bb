"""Every fault at every step of every operation, over a runtime in memory: what serves afterwards, and what is said."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from engine.errors import Exit
from engine.lease import LEASE, Holder
from engine.operations import job, lease
from engine.request import Action, Origin
from engine.snapshot import OperationStatus, Outcome, Step
from tests.unit.model_server import Server
from tests.unit.operations_bench import Bench, Failed, Killed

GPU = "GPU-1"
START = ("start", "gpus", "wait", "prompt")
STEPS = {
    Action.START: ("check", "create", *START),
    Action.STOP: ("stop",),
    # Its port is in use all the time here, so that it is made anew, beside the one before.
    Action.RESTART: ("stop", "check", "create", *START, "let go"),
    Action.REMOVE: ("stop", "remove"),
    Action.SWAP: ("check", "create", "drain", "stop", "memory", *START, "let go"),
}
CELLS = [(action, step) for action, steps in STEPS.items() for step in steps]
TARGET = {Action.START: "b", Action.SWAP: "b"}


@dataclass
class Table:
    bench: Bench
    action: Action
    ended: OperationStatus | None = None

    @property
    def name(self) -> str:
        return TARGET.get(self.action, "a")

    def run(self) -> OperationStatus:
        """Whatever becomes of it."""
        outgoing = ("a",) if self.action is Action.SWAP else ()
        try:
            self.ended = self.bench.run(self.action, self.name, outgoing=outgoing)
        except Failed as failed:
            self.ended = failed.status
        except ZeroDivisionError:
            self.ended = self.bench.journal.recent()[0]
        return self.ended

    def at(self, kind: str, fault: Callable[[], None]) -> None:
        """Once, when the step is under way."""
        struck: list[Step] = []

        def strike(status: OperationStatus) -> None:
            step = status.current
            if step and step.kind.value == kind and not step.undo and not struck:
                struck.append(step)
                fault()

        self.bench.at = strike

    def settle(self, action: Action) -> OperationStatus:
        [killed] = [status for status in self.bench.journal.recent() if status.unsettled]
        assert killed.current is None
        try:
            return self.bench.run(action, killed.id)
        except Failed as failed:
            return failed.status

    @property
    def running(self) -> set[str]:
        return {name for name in self.bench.docker.held if self.bench.runs(name)}

    def check_end(self, *, told: bool = True) -> None:
        """What holds after every fault. `told`: the journal could be written, and the engine answers."""
        status = self.ended
        assert status
        assert all(len(running) <= 1 for running in self.bench.docker.ran), "two at once"
        assert status.current is None
        assert status.outcome is not Outcome.RUNNING
        assert (status.exit_code == Exit.DONE) is (status.outcome is Outcome.DONE)
        if told:
            assert self.bench.journal.recent()[0] == status
            assert not self.bench.docker.records
        assert not self.bench.process.records
        self.check_what_serves(status)

    def check_what_serves(self, status: OperationStatus) -> None:
        done = {Action.STOP: set[str](), Action.REMOVE: set[str](), Action.RESTART: {"a"}}.get(self.action, {"b"})
        before = set[str]() if self.action is Action.START else {"a"}
        if status.outcome is Outcome.DONE:
            assert self.running == done
        elif status.outcome is Outcome.ROLLED_BACK:
            assert self.running == before
            assert set(self.bench.docker.held) == before, "nothing is left of it"
        elif not self.running and before:
            assert "a does not run." in status.message or "cannot be told" in status.message, status.message


@pytest.fixture
def other() -> Iterator[Server]:
    one = Server()
    one.ready.set()
    yield one
    one.close()


@pytest.fixture
def table(
    request: pytest.FixtureRequest, bench: Bench, server: Server, other: Server, monkeypatch: pytest.MonkeyPatch
) -> Table:
    server.ready.set()
    bench.gpus, bench.docker.seen = (GPU,), (GPU,)
    bench.services["b"] = replace(bench.service, http=other.url, health=f"{other.url}/health")
    action = request.node.callspec.params["action"]
    if action is not Action.START:
        bench.run(Action.START, "a")
    bench.docker.ran.clear()
    monkeypatch.setattr(job, "PATIENCE_S", 5.0)
    monkeypatch.setattr(lease, "GIVE_BACK_S", 5.0)
    return Table(bench, action)


def test_these_are_its_steps(bench: Bench, server: Server, other: Server) -> None:
    """Else a cell is not struck at all."""
    server.ready.set()
    bench.gpus, bench.docker.seen = (GPU,), (GPU,)
    bench.services["b"] = replace(bench.service, http=other.url, health=f"{other.url}/health")
    other.ready.set()
    for action in (Action.START, Action.REMOVE):
        status = bench.run(action, "b")
        assert tuple(step.kind.value for step in status.steps) == STEPS[action]
    bench.run(Action.START, "a")
    for action, name in ((Action.RESTART, "a"), (Action.SWAP, "b"), (Action.STOP, "b")):
        status = bench.run(action, name, outgoing=("a",) if action is Action.SWAP else ())
        assert tuple(step.kind.value for step in status.steps) == STEPS[action]


@pytest.mark.parametrize(("action", "step"), CELLS)
def test_cancelled(table: Table, action: Action, step: str) -> None:
    table.at(step, table.bench.cancelled.set)
    status = table.run()
    table.check_end()
    if step == STEPS[action][-1]:
        assert status.outcome is Outcome.DONE, status.message  # nothing comes after it
        return
    assert status.cancelled
    assert status.message.startswith("It was cancelled.")
    # What was asked to go is not brought back.
    assert status.outcome is (Outcome.FAILED if action is Action.REMOVE else Outcome.ROLLED_BACK), status.message


@pytest.mark.parametrize("action", STEPS)
def test_cancelled_before_anything(table: Table, action: Action) -> None:
    table.bench.cancelled.set()
    status = table.run()
    table.check_end()
    assert status.outcome is Outcome.ROLLED_BACK
    assert status.cancelled
    assert len(table.bench.docker.called) == (0 if action is Action.START else 2), "only what was before"


@pytest.mark.parametrize(("action", "step"), CELLS)
def test_the_engine_is_restarted(table: Table, action: Action, step: str) -> None:
    docker = table.bench.docker

    def away() -> None:
        docker.unreachable = True
        threading.Timer(0.15, lambda: setattr(docker, "unreachable", False)).start()

    table.at(step, away)
    status = table.run()
    table.check_end()
    if step != "check":
        assert status.outcome is Outcome.DONE, status.message
    elif action is Action.RESTART:  # in the others nothing has been done yet, and who asked may ask again
        assert status.outcome is Outcome.ROLLED_BACK, status.message


@pytest.mark.parametrize(("action", "step"), CELLS)
def test_the_engine_never_answers_again(
    table: Table, action: Action, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "PATIENCE_S", 0.05)
    monkeypatch.setattr(lease, "GIVE_BACK_S", 0.05)
    table.bench.service = replace(table.bench.service, ready_timeout_s=0.3)
    table.bench.services = {
        name: replace(service, ready_timeout_s=0.3) for name, service in table.bench.services.items()
    }
    docker = table.bench.docker
    table.at(step, lambda: setattr(docker, "unreachable", True))
    status = table.run()
    table.check_end(told=False)
    if action is Action.SWAP or step not in ("wait", "prompt"):  # a server goes on without its engine
        assert status.outcome is Outcome.FAILED, status.message
        assert "docker does not answer" in status.message
    assert any("The lease is still with docker" in note for note in status.notes) or not docker.records
    assert table.bench.journal.recent()[0] == status


@pytest.mark.parametrize(("action", "step"), CELLS)
def test_something_that_nobody_foresaw(table: Table, action: Action, step: str) -> None:
    def arm() -> None:
        def strike(call: str, name: str, done: bool) -> None:
            table.bench.docker.hook = lambda call, name, done: None
            raise ZeroDivisionError("nobody knows why")

        table.bench.docker.hook = strike

    table.at(step, arm)
    status = table.run()
    table.check_end()
    assert "ZeroDivisionError: nobody knows why" in status.message or status.outcome is Outcome.DONE


@pytest.mark.parametrize(("action", "step"), CELLS)
def test_the_journal_cannot_be_written_any_more(table: Table, action: Action, step: str) -> None:
    journal = table.bench.journal
    table.at(step, lambda: setattr(journal, "works", False))
    status = table.run()
    table.check_end(told=False)
    assert not table.bench.docker.records
    if (action, step) in ((Action.START, "check"), (Action.SWAP, "check")):
        assert status.exit_code == Exit.REFUSED
        assert not table.bench.docker.called or action is Action.SWAP
    elif (action, step) != (Action.RESTART, "stop") or status.outcome is not Outcome.DONE:
        assert status.outcome in (Outcome.DONE, Outcome.ROLLED_BACK), status.message


@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("action", "step"), CELLS)
def test_killed_and_settled(table: Table, action: Action, step: str, late: bool, settling: Action) -> None:
    """At its begin, or when its call was carried out and its answer was not heard."""
    bench = table.bench

    def arm() -> None:
        def strike(call: str, name: str, done: bool) -> None:
            if done and name:
                bench.kill()

        bench.docker.hook = strike

    table.at(step, arm if late else bench.kill)
    try:
        table.run()
    except Killed:
        bench.bury()
    else:
        assert late, "it was to be killed"
        return  # nothing is asked of the runtime from there on
    killed = bench.journal.recent()[0]
    assert killed.outcome is Outcome.INTERRUPTED
    status = table.settle(settling)
    table.ended = status
    if settling is Action.FINISH:
        assert status.outcome is Outcome.DONE, status.message
        table.check_end()
    elif action is Action.REMOVE and "a" not in bench.docker.held:
        assert status.exit_code == Exit.REFUSED
        assert "is removed, and its log with it" in status.message
        return
    else:
        assert status.outcome is Outcome.DONE, status.message
        table.check_what_serves(replace(status, outcome=Outcome.ROLLED_BACK))
    assert not bench.docker.records
    settled = bench.journal.entry(killed.id)
    assert settled
    assert settled.status.settled_by.startswith("finished by" if settling is Action.FINISH else "rolled back by")
    assert not any(one.unsettled for one in bench.journal.recent())


@pytest.mark.parametrize("action", [Action.START])
def test_what_another_has_begun_meanwhile_is_not_rolled_back_into(table: Table, other: Server, action: Action) -> None:
    """A start gives the lease back when all that is left is to wait; to roll back it needs it again."""
    other.ready.clear()

    def taken() -> None:
        holder = Holder.this_process("swap x → y", "2", Origin("alice", "box", 1))
        table.bench.docker.records[LEASE] = holder.to_facts()
        table.bench.cancelled.set()

    table.at("wait", taken)
    status = table.run()
    assert (status.outcome, status.exit_code) == (Outcome.FAILED, Exit.FAILED)
    assert status.message.startswith(
        "It was cancelled. It could not be rolled back: This machine is being changed: alice"
    )
    assert status.message.endswith("b runs.")
    assert table.running == {"b"}
    assert table.bench.docker.records[LEASE]["user"] == "alice", "it is hers"
