"""What takes the place of an older one of its name: that is gone back to until the new one serves, whatever happens."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from engine.deployment import Lifecycle
from engine.errors import OperationFailed
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, StepKind
from tests.unit.memory_runtime import MemoryRuntime
from tests.unit.model_server import Server
from tests.unit.operations_bench import Bench, Failed, Killed


@dataclass
class Changed:
    """m has an older container, and its profile has changed since."""

    bench: Bench
    action: Action
    new: Server
    """Where m answers as its profile is now"""
    before: str
    """The id of what there is of m"""

    def run(self, **options: object) -> OperationStatus:
        if self.action is Action.SWAP:
            options = {"outgoing": ("a",), **options}
        return self.bench.run(self.action, "m", **options)

    def failed(self, **options: object) -> OperationStatus:
        with pytest.raises(Failed) as failure:
            self.run(**options)
        return failure.value.status

    @property
    def docker(self) -> MemoryRuntime:
        return self.bench.docker

    def check_new(self) -> None:
        """It alone is there, and runs."""
        assert self.docker.held["m"].id != self.before
        assert self.bench.runs("m")
        assert not self.docker.aside
        self.check()

    def check_old(self, *, ran: bool | None = None) -> None:
        """It has its place again, and does what it did."""
        assert self.docker.held["m"].id == self.before
        assert self.bench.runs("m") is (self.action is Action.RESTART if ran is None else ran)
        assert not self.docker.aside
        assert self.bench.runs("a") is (self.action is Action.SWAP)
        self.check()

    def check(self) -> None:
        assert all(len(running) <= 1 for running in self.docker.ran), "two at once"
        assert not self.docker.records


@pytest.fixture
def new() -> Iterator[Server]:
    one = Server()
    one.ready.set()
    yield one
    one.close()


@pytest.fixture(params=[Action.START, Action.RESTART, Action.SWAP])
def changed(request: pytest.FixtureRequest, bench: Bench, server: Server, new: Server) -> Changed:
    server.ready.set()
    bench.run(Action.START, "m")
    if request.param is not Action.RESTART:
        bench.run(Action.STOP, "m")
    if request.param is Action.SWAP:
        bench.run(Action.START, "a")
    prompt = "" if request.param is Action.RESTART else "ping"
    bench.services["m"] = replace(
        bench.service, http=new.url, health=f"{new.url}/health", ready_prompt=prompt or None, ready_timeout_s=5
    )
    bench.digest = "2"
    bench.docker.called.clear()
    bench.docker.ran.clear()
    return Changed(bench, request.param, new, bench.docker.held["m"].id)


def kinds(status: OperationStatus, *, undo: bool = False) -> list[StepKind]:
    return [step.kind for step in status.steps if step.undo is undo]


def test_the_one_before_goes_when_the_new_one_serves(changed: Changed) -> None:
    def look(status: OperationStatus) -> None:
        if status.current and status.current.kind in (StepKind.WAIT, StepKind.PROMPT):
            assert changed.docker.aside["m"].id == changed.before
            assert changed.docker.records, "nobody else may change it meanwhile"

    changed.bench.at = look
    status = changed.run()
    changed.check_new()
    assert [step.outcome for step in status.steps] == [Outcome.DONE] * len(status.steps)
    assert next(step.subject for step in status.steps if step.kind is StepKind.LET_GO) == "m"
    assert next(step for step in status.steps if step.kind is StepKind.CREATE).detail == "the one before is set aside"


def test_where_nothing_is_waited_for_it_goes_when_the_new_one_is_started(bench: Bench, server: Server) -> None:
    server.ready.set()
    bench.run(Action.START, "m")
    bench.digest = "2"
    status = bench.run(Action.RESTART, "m", wait=False)
    assert kinds(status)[-2:] == [StepKind.START, StepKind.LET_GO]
    assert not bench.docker.aside


def test_one_that_is_started_as_it_is_replaces_nothing(bench: Bench, server: Server) -> None:
    server.ready.set()
    bench.services["m"] = replace(bench.service, http="http://127.0.0.1:9")
    bench.run(Action.START, "m")
    status = bench.run(Action.RESTART, "m")
    assert StepKind.LET_GO not in kinds(status)
    assert ("set aside", "m") not in bench.docker.called


def once(changed: Changed, kind: StepKind, fault: Callable[[], object]) -> None:
    struck: list[StepKind] = []

    def strike(status: OperationStatus) -> None:
        step = status.current
        if step and step.kind is kind and step.subject == "m" and not step.undo and not struck:
            struck.append(kind)
            fault()

    changed.bench.at = strike


def refuse_once(changed: Changed, call: str) -> None:
    def hook(asked: str, of: str, done: bool) -> None:
        if (asked, of, done) == (call, "m", False):
            changed.docker.hook = lambda call, name, done: None
            raise OperationFailed("The daemon refuses.")

    changed.docker.hook = hook


FAULTS: dict[str, Callable[[Changed], object]] = {
    "set aside": lambda changed: refuse_once(changed, "set aside"),
    "create": lambda changed: refuse_once(changed, "create"),
    "start": lambda changed: once(changed, StepKind.START, lambda: refuse_once(changed, "start")),
    "never ready": lambda changed: changed.new.ready.clear(),
    "ends": lambda changed: once(changed, StepKind.WAIT, lambda: changed.docker.end("m", 1)),
    "answers errors": lambda changed: changed.new.answers.clear(),
    "cancelled": lambda changed: once(changed, StepKind.WAIT, changed.bench.cancelled.set),
    "cancelled at create": lambda changed: once(changed, StepKind.CREATE, changed.bench.cancelled.set),
    "unforeseen": lambda changed: once(changed, StepKind.WAIT, lambda: 1 / 0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_the_one_before_is_back(changed: Changed, fault: str) -> None:
    FAULTS[fault](changed)
    status = changed.failed(timeout_s=0.3 if fault == "never ready" else None)
    assert status.outcome is Outcome.ROLLED_BACK, status.message
    assert status.current is None
    changed.check_old()
    made = fault not in ("set aside", "create", "cancelled at create")
    assert ("The new m is removed" in status.message) is (made or fault == "cancelled at create"), status.message
    if changed.action is Action.RESTART:
        assert status.message.endswith("m serves again, and answers.")


def test_other_gpus_than_planned_bring_the_one_before_back(changed: Changed) -> None:
    def others() -> None:
        changed.docker.seen = ("GPU-2",)

    changed.bench.gpus = changed.docker.seen = ("GPU-1",)
    once(changed, StepKind.GPUS, others)
    assert changed.failed().outcome is Outcome.ROLLED_BACK
    changed.check_old()


def test_one_that_cannot_be_removed_is_not_started_in_the_place_of_the_one_before(changed: Changed) -> None:
    def refuse(call: str, name: str, done: bool) -> None:
        if (call, name) == ("remove", "m"):
            raise OperationFailed("The daemon refuses.")

    changed.new.answers.clear()
    changed.docker.hook = refuse
    status = changed.failed()
    assert status.outcome is Outcome.FAILED
    assert "could not be rolled back: The daemon refuses." in status.message
    assert "m does not run; the one before it is set aside." in status.message
    assert not changed.bench.runs("m")
    # It is not lost: whatever is done next with the name finds it.
    changed.docker.hook = lambda call, name, done: None
    changed.bench.run(Action.REMOVE, "m")
    assert set(changed.docker.held) == ({"a"} if changed.action is Action.SWAP else set())
    assert not changed.docker.aside


def test_one_that_cannot_be_let_go_is_said(changed: Changed) -> None:
    def refuse(call: str, name: str, done: bool) -> None:
        if call == "drop aside":
            raise OperationFailed("The daemon refuses.")

    changed.docker.hook = refuse
    status = changed.failed()
    assert status.outcome is Outcome.FAILED
    assert status.message == "m runs. The one before could not be removed: The daemon refuses."
    changed.docker.hook = lambda call, name, done: None
    assert changed.bench.run(Action.START, "m").steps[-1].kind is StepKind.LET_GO
    changed.check_new()


@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
@pytest.mark.parametrize("index", range(12))
def test_killed_at_any_call_it_is_finished_or_rolled_back(changed: Changed, index: int, settling: Action) -> None:
    """Before the call is carried out, and after, when its answer was not heard."""
    left, last = index, ("", "", False)

    def strike(call: str, name: str, done: bool) -> None:
        nonlocal left, last
        if name:
            left, last = left - 1, (call, name, done)
            if left < 0:
                changed.bench.kill()

    changed.docker.hook = strike
    try:
        changed.run()
    except Killed:
        changed.bench.bury()
    else:
        assert last == ("drop aside", "m", True), "each was struck"
        return
    killed = changed.bench.journal.recent()[0]
    assert killed.unsettled
    status = changed.bench.run(settling, killed.id)
    assert not any(one.unsettled for one in changed.bench.journal.recent())
    if settling is Action.FINISH:
        changed.check_new()
    elif last != ("drop aside", "m", True):
        changed.check_old()
    else:  # what served had been let go already
        assert not changed.docker.aside
        changed.check()
    assert status.outcome is Outcome.DONE


@pytest.mark.parametrize("after", ["set aside", "create", "start"])
def test_what_nobody_settles_is_cleared_by_the_next_start_or_removal(changed: Changed, after: str) -> None:
    def strike(call: str, name: str, done: bool) -> None:
        if (call, name, done) == (after, "m", True):
            changed.bench.kill()

    changed.docker.hook = strike
    with pytest.raises(Killed):
        changed.run()
    changed.bench.bury()
    assert changed.docker.aside["m"].id == changed.before
    assert [one.name for one in changed.docker.deployments()].count("m") == 1
    if changed.bench.runs("a"):
        changed.bench.run(Action.STOP, "a")
    if changed.bench.runs("m"):
        changed.bench.run(Action.STOP, "m")
    status = changed.bench.run(Action.START, "m")
    assert kinds(status)[-1] is StepKind.LET_GO
    changed.check_new()
    changed.bench.run(Action.REMOVE, "m")
    assert "m" not in {one.name for one in changed.docker.deployments()}


def test_one_on_another_runtime_is_kept_until_the_new_one_serves(bench: Bench, server: Server) -> None:
    server.ready.set()
    bench.run(Action.START, "m")
    bench.run(Action.STOP, "m")
    server.ready.clear()
    with pytest.raises(Failed) as failure:
        bench.run(Action.START, "m", runtime="process", timeout_s=0.2)
    assert failure.value.status.outcome is Outcome.ROLLED_BACK
    assert (list(bench.docker.held), list(bench.process.held)) == (["m"], [])
    server.ready.set()
    bench.run(Action.START, "m", runtime="process")
    assert (list(bench.docker.held), list(bench.process.held)) == ([], ["m"])


def test_those_before_it_on_either_runtime_go_when_it_serves(bench: Bench, server: Server) -> None:
    server.ready.set()
    for runtime in ("process", "docker"):
        bench.run(Action.START, "m", runtime=runtime)
        bench.run(Action.STOP, "m")
        bench.digest += "1"
        bench.process.aside.update(bench.process.held)  # beside one on the other runtime it is kept by hand alone
        bench.process.held.clear()
    bench.process.held.update(bench.process.aside)
    bench.process.aside.clear()
    bench.run(Action.START, "m", runtime="process")
    assert not bench.docker.held
    assert not bench.process.aside


def test_one_started_for_another_model_is_made_late(bench: Bench, server: Server) -> None:
    """Its container has the incoming one's name until it has stopped."""
    server.ready.set()
    bench.run(Action.START, "a")
    bench.docker.held["a"] = replace(bench.docker.held["a"], made_as="m")
    bench.docker.called.clear()
    status = bench.run(Action.SWAP, "m", outgoing=("a",))
    assert bench.docker.called == [("stop", "a"), ("create", "m"), ("start", "m")]
    assert kinds(status)[:4] == [StepKind.CHECK, StepKind.DRAIN, StepKind.STOP, StepKind.CREATE]


def test_a_model_whose_server_has_ended_is_made_anew(bench: Bench, server: Server, new: Server) -> None:
    server.ready.set()
    bench.services["m"] = replace(bench.service, http=new.url, health=f"{new.url}/health")
    bench.run(Action.START, "a")
    bench.docker.held["a"] = replace(bench.docker.held["a"], made_as="m")
    first = bench.docker.held["a"].id
    new.answers.clear()
    with pytest.raises(Failed) as failure:
        bench.run(Action.SWAP, "m", outgoing=("a",))
    assert failure.value.status.outcome is Outcome.ROLLED_BACK, failure.value.status.message
    assert bench.runs("a")
    assert bench.docker.held["a"].id != first
    assert bench.docker.held["a"].lifecycle is Lifecycle.RUNNING
