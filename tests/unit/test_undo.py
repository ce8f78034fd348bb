"""The fast ways of a swap, and their undoing: other models in one Triton, sleeping and waking vLLM."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from engine.deployment import Lifecycle
from engine.errors import OperationFailed
from engine.request import Action, Way
from engine.snapshot import OperationStatus, Outcome, StepKind
from tests.unit.model_server import Server
from tests.unit.operations_bench import Bench, Failed, Killed

READY, AWAY = "READY", "UNAVAILABLE"


@dataclass
class Fast:
    bench: Bench
    a: Server
    b: Server
    """The same one when the models are in one"""

    def swap(self, **options: object) -> OperationStatus:
        try:
            return self.bench.run(Action.SWAP, "b", outgoing=("a",), **options)
        except Failed as failed:
            return failed.status

    def at(self, kind: StepKind, fault: Callable[[], object]) -> None:
        """Once, at the step's begin."""
        struck: list[StepKind] = []

        def strike(status: OperationStatus) -> None:
            if status.current and status.current.kind is kind and not status.current.undo and not struck:
                struck.append(kind)
                fault()

        self.bench.at = strike

    def killed_at(self, kind: StepKind) -> str:
        self.at(kind, self.bench.kill)
        with pytest.raises(Killed):
            self.swap()
        self.bench.bury()
        return self.bench.journal.recent()[0].id

    @property
    def names(self) -> set[str]:
        return set(self.bench.docker.held)


@pytest.fixture
def one(bench: Bench, server: Server) -> Fast:
    """A Triton that holds a, and could hold b."""
    server.ready.set()
    server.models = {"a": READY, "b": AWAY}
    for name in ("a", "b"):
        bench.services[name] = replace(bench.service, model=name)
    bench.run(Action.START, "a")
    bench.docker.called.clear()
    bench.way = Way.LOAD
    return Fast(bench, server, server)


@pytest.fixture
def two(bench: Bench, server: Server) -> Iterator[Fast]:
    """A vLLM that serves a and can sleep, and one for b."""
    other = Server()
    for each in (server, other):
        each.ready.set()
        each.asleep = False
    bench.services["b"] = replace(bench.service, http=other.url, health=f"{other.url}/health")
    bench.stack = "vllm"
    bench.run(Action.START, "a")
    bench.docker.called.clear()
    bench.way = Way.SLEEP
    yield Fast(bench, server, other)
    other.close()


def model(server: Server, name: str) -> str:
    assert server.models is not None
    return server.models[name]


def refuse(call: str, name: str) -> Callable[[str, str, bool], None]:
    def hook(asked: str, of: str, done: bool) -> None:
        if (asked, of) == (call, name):
            raise OperationFailed("The daemon refuses.")

    return hook


# -- other models in one Triton ----------------------------------------------------------------------------------------


def test_a_model_is_loaded_before_the_other_goes_where_memory_is_no_question(one: Fast) -> None:
    status = one.swap()
    assert status.outcome is Outcome.DONE, status.message
    assert one.a.asked == ["/v2/repository/models/b/load", "/v2/repository/models/a/unload"]
    assert one.bench.docker.called == [("claim", "b")]
    assert one.names == {"b"}
    assert "a is unloaded" in status.message
    back = one.bench.run(Action.SWAP, "a", outgoing=("b",))
    assert "b is unloaded" in back.message
    assert (model(one.a, "a"), model(one.a, "b"), one.names) == (READY, AWAY, {"a"})


def test_on_a_gpu_the_other_goes_first(one: Fast) -> None:
    one.bench.gpus = ("GPU-1",)
    status = one.swap()
    assert [step.kind.value for step in status.steps] == [
        *("check", "drain", "unload", "memory", "load", "adopt", "wait", "prompt", "let go")
    ]
    assert one.a.asked == ["/v2/repository/models/a/unload", "/v2/repository/models/b/load"]


def test_one_that_has_the_name_already_is_not_lost(one: Fast) -> None:
    """No plan chooses this way beside it; it may have come since."""
    one.bench.docker.held["b"] = replace(one.bench.docker.held["a"], name="b", id="old", lifecycle=Lifecycle.EXITED)
    assert one.swap().outcome is Outcome.ROLLED_BACK
    assert one.names == {"a", "b"}
    assert one.bench.docker.held["b"].id == "old"
    assert (model(one.a, "a"), model(one.a, "b")) == (READY, AWAY)


LOAD_FAULTS: dict[str, Callable[[Fast], object]] = {
    "load": lambda one: one.a.refused.add("/b/load"),
    "unload": lambda one: one.at(StepKind.UNLOAD, lambda: one.a.refused.add("/a/unload")),
    "memory": lambda one: setattr(one.bench, "memory_error", "It did not come back."),
    "claim": lambda one: setattr(one.bench.docker, "hook", refuse("claim", "b")),
    "prompt": lambda one: one.at(StepKind.PROMPT, lambda: one.a.models.update(b=AWAY)),  # type: ignore[union-attr]
    "cancel": lambda one: one.at(StepKind.ADOPT, one.bench.cancelled.set),
    "unforeseen": lambda one: one.at(StepKind.ADOPT, lambda: 1 / 0),
}


@pytest.mark.parametrize(
    ("fault", "gpus"),
    [(fault, gpus) for fault in LOAD_FAULTS for gpus in ((), ("GPU-1",)) if gpus or fault != "memory"],
)
def test_whatever_fails_in_one_server_its_models_are_as_they_were(one: Fast, fault: str, gpus: tuple[str, ...]) -> None:
    one.bench.gpus = gpus
    LOAD_FAULTS[fault](one)
    status = one.swap()
    assert status.outcome is Outcome.ROLLED_BACK, status.message
    assert status.message.endswith("a serves again, and answers.")
    assert (model(one.a, "a"), model(one.a, "b")) == (READY, AWAY)
    assert one.names == {"a"}
    assert status.current is None
    assert not one.bench.docker.records


def test_a_server_that_ends_while_it_loads_is_started_again(one: Fast) -> None:
    def end() -> None:
        one.bench.docker.end("a", 1)
        one.a.refused.add("/b/load")

    one.at(StepKind.LOAD, end)
    status = one.swap()
    assert status.outcome is Outcome.ROLLED_BACK, status.message
    assert one.bench.docker.called == [("start", "a")]


def test_what_cannot_be_loaded_again_is_said(one: Fast) -> None:
    one.bench.gpus = ("GPU-1",)
    one.a.refused |= {"/b/load", "/a/load"}
    status = one.swap()
    assert status.outcome is Outcome.FAILED
    assert "did not load the model b" in status.message
    assert "It could not be rolled back:" in status.message
    assert "did not load the model a" in status.message
    assert status.message.endswith("a runs.")


LOAD_STEPS = [StepKind.DRAIN, StepKind.LOAD, StepKind.UNLOAD, StepKind.ADOPT, StepKind.WAIT, StepKind.LET_GO]


@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
@pytest.mark.parametrize("gpus", [(), ("GPU-1",)], ids=["load first", "unload first"])
@pytest.mark.parametrize("kind", LOAD_STEPS)
def test_a_killed_load_is_settled(one: Fast, kind: StepKind, gpus: tuple[str, ...], settling: Action) -> None:
    one.bench.gpus = gpus
    killed = one.killed_at(kind)
    status = one.bench.run(settling, killed)
    finished = settling is Action.FINISH
    assert (model(one.a, "b"), model(one.a, "a")) == ((READY, AWAY) if finished else (AWAY, READY))
    assert one.names == ({"b"} if finished else {"a"})
    assert not any(left.unsettled for left in one.bench.journal.recent())
    if finished:
        assert status.steps[-1].detail == "its models are unloaded; the server goes on"


# -- sleeping and waking -----------------------------------------------------------------------------------------------


def test_one_sleeps_and_the_other_is_started(two: Fast) -> None:
    status = two.swap()
    assert status.outcome is Outcome.DONE, status.message
    assert (two.a.asleep, two.b.asleep) == (True, False)
    assert two.bench.runs("a")
    assert "a is asleep" in status.message
    assert status.steps[-1].detail == "it sleeps, and can be woken"


def test_one_that_sleeps_is_woken(two: Fast) -> None:
    two.swap()
    two.bench.docker.called.clear()
    back = two.bench.run(Action.SWAP, "a", outgoing=("b",))
    assert (two.a.asleep, two.b.asleep) == (False, True)
    assert not two.bench.docker.called, "neither is stopped nor made"
    assert StepKind.CREATE not in {step.kind for step in back.steps}


def test_one_that_slept_is_removed_when_that_is_asked_for(two: Fast) -> None:
    status = two.swap(remove_outgoing=True)
    assert two.names == {"b"}
    assert "a is removed" in status.message


SLEEP_FAULTS: dict[str, Callable[[Fast], object]] = {
    "sleep": lambda two: two.a.refused.add("/sleep"),
    "start": lambda two: setattr(two.bench.docker, "hook", refuse("start", "b")),
    "prompt": lambda two: two.b.answers.clear(),
    "create": lambda two: setattr(two.bench.docker, "hook", refuse("create", "b")),
    "cancel": lambda two: two.at(StepKind.CREATE, two.bench.cancelled.set),
    "unforeseen": lambda two: two.at(StepKind.START, lambda: 1 / 0),
}
UNTOUCHED = ("sleep", "create", "cancel")


@pytest.mark.parametrize("fault", SLEEP_FAULTS)
def test_whatever_fails_the_sleeper_is_woken(two: Fast, fault: str) -> None:
    SLEEP_FAULTS[fault](two)
    status = two.swap()
    assert status.outcome is Outcome.ROLLED_BACK, status.message
    assert f"a {'still serves' if fault in UNTOUCHED else 'serves again'}" in status.message
    assert two.a.asleep is False
    assert two.names == {"a"}
    assert two.bench.runs("a")


@pytest.mark.parametrize("fault", ["wake", "prompt"])
def test_what_was_to_be_woken_sleeps_again(two: Fast, fault: str) -> None:
    two.swap()
    if fault == "wake":
        two.a.refused.add("/wake_up")
    else:
        two.a.answers.clear()
    with pytest.raises(Failed) as failure:
        two.bench.run(Action.SWAP, "a", outgoing=("b",))
    assert failure.value.status.outcome is Outcome.ROLLED_BACK, failure.value.status.message
    assert (two.a.asleep, two.b.asleep) == (True, False)
    assert two.names == {"a", "b"}


SLEEP_STEPS = [StepKind.CREATE, StepKind.DRAIN, StepKind.SLEEP, StepKind.START, StepKind.WAIT, StepKind.LET_GO]


@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
@pytest.mark.parametrize("kind", SLEEP_STEPS)
def test_a_killed_sleep_is_settled(two: Fast, kind: StepKind, settling: Action) -> None:
    killed = two.killed_at(kind)
    two.bench.run(settling, killed)
    if settling is Action.FINISH:
        assert (two.a.asleep, two.names) == (True, {"a", "b"})
        assert two.bench.runs("b")
    else:
        assert (two.a.asleep, two.names) == (False, {"a"})
    assert two.bench.runs("a")
    assert not any(left.unsettled for left in two.bench.journal.recent())


@pytest.mark.parametrize("settling", [Action.FINISH, Action.ROLL_BACK])
@pytest.mark.parametrize("kind", [StepKind.SLEEP, StepKind.WAKE, StepKind.WAIT])
def test_a_killed_waking_is_settled(two: Fast, kind: StepKind, settling: Action) -> None:
    two.swap()
    two.at(kind, two.bench.kill)
    with pytest.raises(Killed):
        two.bench.run(Action.SWAP, "a", outgoing=("b",))
    two.bench.bury()
    two.bench.run(settling, two.bench.journal.recent()[0].id)
    assert (two.a.asleep, two.b.asleep) == ((False, True) if settling is Action.FINISH else (True, False))
    assert two.names == {"a", "b"}
