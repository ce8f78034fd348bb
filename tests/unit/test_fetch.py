"""An image that is not here is fetched before anything else is touched."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.errors import Exit, OperationFailed, RuntimeUnreachable
from engine.lease import LEASE
from engine.operations import bring_up, job
from engine.operations.conductor import Conductor
from engine.plan import SwapPlan
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, StepKind
from tests.unit.holders import holder
from tests.unit.operations_bench import Bench, Failed, Killed

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
    assert done(status)[:4] == ["check", "pull", "check", "create"]
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


def during_the_pull(bench: Bench, act: Callable[[], object]) -> None:
    """Once, when it has been asked for."""

    def hook(call: str, name: str, done: bool) -> None:
        if call == "pull" and not done:
            bench.docker.hook = lambda *_: None
            act()

    bench.docker.hook = hook


def test_meanwhile_others_may_change_this_machine(bench: Bench) -> None:
    serve(bench, "a")
    leases: list[object] = []

    def stop() -> None:
        leases.append(bench.docker.records.get(LEASE))
        assert bench.run(Action.STOP, "a").outcome is Outcome.DONE

    during_the_pull(bench, stop)
    status = bench.run(Action.START, "b")
    assert leases == [None]
    assert status.outcome is Outcome.DONE
    assert bench.runs("b")
    assert not bench.docker.records, "it had the lease again, and gave it back"


def test_what_was_started_meanwhile_is_not_started_twice(bench: Bench) -> None:
    bench.image = IMAGE
    bench.docker.elsewhere.add(IMAGE)

    def start() -> None:
        bench.docker.elsewhere.discard(IMAGE)
        bench.run(Action.START)

    during_the_pull(bench, start)
    status = bench.run(Action.START)
    assert [call for call, _ in bench.docker.called].count("create") == 1
    assert status.outcome is Outcome.DONE


def test_a_swap_takes_out_nothing_that_was_not_agreed_to(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(bench, "a")
    asked = bench.plan_swap

    def plan(name: str, outgoing: tuple[str, ...], runtime: str | None, *, full: bool) -> SwapPlan:
        running = tuple(one for one in ("a", "c") if bench.runs(one))
        return asked(name, outgoing or running, runtime, full=full)

    bench.conductor = Conductor(replace(bench.tools, plan_swap=plan), bench.audited.append)

    def exchange() -> None:
        bench.run(Action.STOP, "a")
        bench.docker.elsewhere.discard(IMAGE)
        bench.run(Action.START, "c")

    during_the_pull(bench, exchange)
    with pytest.raises(Failed, match=r"c would have to go now") as failed:
        bench.run(Action.SWAP, "b")
    assert failed.value.status.exit_code == Exit.REFUSED
    assert bench.runs("c")
    assert "b" not in bench.docker.held


def test_who_changes_this_machine_for_long_keeps_the_lease(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bring_up, "MEANWHILE_S", 0.2)
    serve(bench, "a")
    during_the_pull(bench, lambda: bench.docker.records.update({LEASE: holder("swap c", "bob").to_facts()}))
    with pytest.raises(Failed, match=rf"{IMAGE} is here now, but nothing else was done\..*bob@") as failed:
        bench.run(Action.SWAP, "b", outgoing=("a",))
    assert failed.value.status.exit_code == Exit.REFUSED
    assert bench.runs("a")
    assert "b" not in bench.docker.held
    assert "swap c" in bench.docker.records[LEASE]["what"], "it is still bob's"


def test_killed_while_it_fetches_it_has_changed_nothing(bench: Bench) -> None:
    serve(bench, "a")
    during_the_pull(bench, bench.kill)
    with pytest.raises(Killed):
        bench.run(Action.SWAP, "b", outgoing=("a",))
    bench.bury()
    assert not bench.docker.records, "nobody has to take its lease over"
    interrupted = bench.journal.recent()[0]
    assert "Nothing had been changed" in bench.run(Action.ROLL_BACK, interrupted.id).message
    assert bench.runs("a")


def test_finished_after_that_it_is_fetched_then(bench: Bench) -> None:
    serve(bench, "a")
    during_the_pull(bench, bench.kill)
    with pytest.raises(Killed):
        bench.run(Action.SWAP, "b", outgoing=("a",))
    bench.bury()
    assert "pull" in done(bench.run(Action.FINISH, bench.journal.recent()[0].id))
    assert (bench.runs("a"), bench.runs("b")) == (False, True)


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
