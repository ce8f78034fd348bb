"""What happened to a deployment, and what a swap or a start anew has changed."""

import time
from pathlib import Path

import pytest

from engine.deployment import Lifecycle, State
from engine.errors import NotFound
from engine.freshness import Freshness
from engine.metrics_reading import Bound, Mark, Series
from engine.observe import comparison, metric_history
from engine.observe.comparison import compare
from engine.observe.history_file import HistoryFile, Measured
from engine.observe.marks import STARTED_OUTSIDE, Change, last_change, marks
from engine.observe.metric_history import History
from engine.observe.timeline import STEP_S, Step
from engine.request import Action, Request
from engine.snapshot import OperationStatus, Outcome, StepKind
from engine.snapshot import Step as Done
from engine.store import Entry
from tests.unit.monitor_bench import Server, Watching, running, server, watching
from tests.unit.operations_bench import until

__all__ = ["server", "watching"]  # the fixtures

AT = 1_000_000.0


def operation(
    kind: Action = Action.SWAP,
    target: str = "new",
    outgoing: tuple[str, ...] = ("old",),
    outcome: Outcome = Outcome.DONE,
    began: float = AT,
    ended: float | None = AT + 100,
    ready: float | None = AT + 90,
) -> OperationStatus:
    steps = [Done(StepKind.STOP, "stop", Outcome.DONE, subject="old", began_at=began, ended_at=began + 5)]
    if ready:
        steps.append(Done(StepKind.PROMPT, "prompt", Outcome.DONE, subject=target, began_at=ready - 1, ended_at=ready))
    return OperationStatus("1", kind.value, target, tuple(steps), began, outcome, "ann@box", ended, outgoing=outgoing)


def test_marks_are_operations_on_it_and_starts_that_were_none() -> None:
    swap = operation()
    undone = operation(began=AT + 500, ended=AT + 560, outcome=Outcome.ROLLED_BACK)
    restart = operation(Action.RESTART, outgoing=(), began=AT + 1000, ended=None, outcome=Outcome.RUNNING, ready=None)
    refused = OperationStatus(
        "2", "stop", "new", (Done(StepKind.CHECK, "check", Outcome.FAILED),), AT + 5, Outcome.FAILED, "ann@box", AT + 6
    )
    other = operation(target="third", outgoing=())
    starts = (AT + 20, AT + 700, AT + 1003)
    found = marks("new", (restart, refused, undone, other, swap), starts, AT - 1)
    assert found == (
        Mark(AT, "swap old → new"),
        Mark(AT + 500, "swap old → new, rolled back"),
        Mark(AT + 700, STARTED_OUTSIDE),
        Mark(AT + 1000, "restart new, under way"),
    )
    assert [mark.at for mark in marks("old", (undone, swap), (), AT - 1)] == [AT, AT + 500]
    assert marks("new", (undone, swap), starts, AT + 600) == (
        Mark(AT + 700, STARTED_OUTSIDE),
        Mark(AT + 1003, STARTED_OUTSIDE),
    )


def test_the_last_change_is_a_swap_to_it_or_its_start_anew() -> None:
    swap = operation()
    assert last_change("new", (swap,), (AT + 20,)) == Change(Mark(AT, "swap old → new"), "old", AT, AT + 90)
    # What went away has not changed by that.
    assert last_change("old", (swap,), (AT - 500,)) == Change(
        Mark(AT - 500, STARTED_OUTSIDE), "old", AT - 500, AT - 500
    )
    # A stop is no change either, and a start that goes on is not one yet.
    stop = operation(Action.STOP, outgoing=(), ready=None)
    start = operation(Action.START, outgoing=(), began=AT + 200, ended=None, outcome=Outcome.RUNNING, ready=None)
    assert last_change("new", (stop, start), ()) is None
    # Brought back by a swap that was undone: its own former run came before.
    undone = operation(outcome=Outcome.ROLLED_BACK, ready=None)
    change = last_change("old", (undone,), (AT - 5000, AT + 60))
    assert change == Change(Mark(AT, "swap old → new, rolled back"), "old", AT, AT + 100)
    # Its container was restarted by hand since.
    later = last_change("new", (swap,), (AT + 20, AT + 900))
    assert later is not None
    assert (later.mark.text, later.before) == (STARTED_OUTSIDE, "new")


def measured(count: int, seconds: int = STEP_S, /, **means: float) -> list[Measured]:
    return [Measured(AT + index * seconds, seconds, 10, means) for index in range(count)]


FIGURES = (
    Series("waiting", "Waiting", "requests", None, ""),
    Series("ttft", "TTFT p99", "s", None, ""),
    Series("success", "Answered", "requests/s", None, "", of="prose"),
    Series("gone", "Gone", "", None, ""),
)


def test_figures_are_means_over_time_of_what_both_sides_have() -> None:
    before = [
        *measured(5, waiting=2.0, success=1.0, ttft=9.0, gone=1.0),
        # A minute of an older history weighs as much as six steps.
        *measured(1, 60, waiting=13.0),
        Measured(AT, STEP_S, 0, {}),
    ]
    after = [*measured(3, waiting=5.0, success=3.0), *measured(1, ttft=1.0)]
    found = compare(Change(Mark(AT, "swap a → b"), "a", AT, AT), before, after, FIGURES)
    assert found is not None
    assert (found.before, found.seconds_before, found.seconds_after) == ("a", 110.0, 40.0)
    rows = {row.key: (row.title, row.before, row.after) for row in found.rows}
    assert rows == {
        "waiting": ("Waiting", pytest.approx((5 * 10 * 2 + 60 * 13) / 110), 5.0),
        # One step of it is too little: TTFT is left out.
        "success": ("Answered · prose", 1.0, 3.0),
    }


def test_nothing_is_compared_where_one_side_was_not_measured() -> None:
    change = Change(Mark(AT, "swap a → b"), "a", AT, AT)
    assert compare(change, measured(9, waiting=1.0), measured(9, ttft=1.0), FIGURES) is None
    assert compare(change, [], measured(9, waiting=1.0), FIGURES) is None


def test_a_mean_that_is_no_more_than_a_bound_is_told_as_one() -> None:
    change = Change(Mark(AT, "swap a → b"), "a", AT, AT)

    def told(before: list[Measured], after: list[Measured]) -> tuple[Bound, Bound, float]:
        found = compare(change, before, after, FIGURES)
        assert found
        row = next(row for row in found.rows if row.key == "ttft")
        assert row.after is not None
        return row.before_bound, row.after_bound, row.after

    fast, slow = {"ttft": 0.3, "<ttft": 1.0}, {"ttft": 10.0, ">ttft": 1.0}
    assert told(measured(9, ttft=2.0), measured(9, **fast)) == (Bound.EXACT, Bound.BELOW, 0.3)
    # A part of it below makes it less than is written; so small a part that it is not seen does not.
    assert told(measured(9, **fast), [*measured(5, ttft=0.5), *measured(5, **fast)])[1:] == (Bound.BELOW, 0.4)
    assert told(measured(9, **fast), [*measured(80, ttft=2.0), *measured(1, **fast)])[1] is Bound.EXACT
    # Beyond the last bound it may be any more; what was below the first counts as nothing then.
    mixed = [*measured(5, ttft=2.0), *measured(3, **fast), *measured(2, **slow)]
    *bounds, mean = told(measured(9, **slow), mixed)
    assert bounds == [Bound.ABOVE, Bound.ABOVE]
    assert mean == pytest.approx(3.0)


@pytest.fixture
def kept(watching: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> History:
    """The history of the monitor, which is not open yet."""
    monkeypatch.setattr(metric_history, "WRITE_EVERY_S", 0.2)
    monkeypatch.setattr(comparison, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(comparison, "ANEW_EVERY_S", 0.1)
    history = History(tmp_path / "state" / "metrics.sqlite")
    monitor = watching.monitor
    monitor._metric_history = monitor._runs._history = monitor._comparisons._history = history
    return history


def past(path: Path, name: str, began: float, seconds: float, **means: float) -> None:
    """As an earlier console has left it."""
    first = int(began // STEP_S)
    steps = [Step(first + index, 10, means) for index in range(int(seconds // STEP_S))]
    file = HistoryFile(path)
    assert file.write({name: (sorted(means), steps)}, {})


def test_a_console_shows_the_swap_with_what_was_before_and_after(
    watching: Watching, server: Server, kept: History, tmp_path: Path
) -> None:
    path, now = tmp_path / "state" / "metrics.sqlite", time.time()
    past(path, "old", now - 1100, 600, running=7.0)
    past(path, "m", now - 300, 200, running=3.0)
    swap = operation(target="m", began=now - 400, ended=now - 320, ready=now - 330)
    watching.journal.write(Entry(swap, Request(Action.SWAP, "m"), ""))
    watching.docker.held = (running(server.service, started_at=now - 380, created_at=now - 390),)
    watching.monitor.open()
    until(lambda: watching.monitor.metrics("m").comparison is not None, 20)
    reading = watching.monitor.metrics("m")
    assert reading.freshness is Freshness.FRESH
    assert [mark.text for mark in reading.marks] == ["swap old → m"]
    found = reading.comparison
    assert found is not None
    assert found.before == "old"
    assert (found.seconds_before, found.seconds_after >= 200) == (600.0, True)
    row = next(row for row in found.rows if row.key == "running")
    assert row.before == 7.0
    assert row.after == pytest.approx(3.0, abs=0.1)
    # What the earlier console saw is there, and a gap after it.
    figure = next(one for one in reading.series if one.key == "running")
    assert figure.times[0] < now - 290
    assert None in figure.values
    assert figure.values[-1] == 3.0


def test_what_has_stopped_goes_on_showing_its_last_hour(
    watching: Watching, server: Server, kept: History, tmp_path: Path
) -> None:
    deployment = running(server.service)
    watching.docker.held = (deployment,)
    watching.monitor.open()
    watching.see(lambda model: model.state is State.READY)
    until(lambda: watching.monitor.metrics("m").freshness is Freshness.FRESH)
    watching.monitor.pin("m", "vllm:num_requests_running", pinned=True)
    watching.docker.held = ()
    watching.changes()
    until(lambda: watching.monitor.metrics("m").freshness is Freshness.STALE)
    reading = watching.monitor.metrics("m")
    assert reading.message.startswith("It is not running: this is what it said until ")
    figure = next(one for one in reading.series if one.key == "running")
    assert (figure.value, figure.title) == (3.0, "Running")
    assert watching.monitor.metrics("never-seen").freshness is Freshness.NONE
    # And started again by hand, it is a start from outside.
    watching.docker.held = (running(server.service, id="another", lifecycle=Lifecycle.RUNNING),)
    watching.changes()
    until(lambda: watching.monitor.metrics("m").freshness is Freshness.FRESH)
    assert [mark.text for mark in watching.monitor.metrics("m").marks] == [STARTED_OUTSIDE, STARTED_OUTSIDE]
    assert [one.name for one in watching.monitor.families("m") if one.pinned] == ["vllm:num_requests_running"]
    watching.monitor.close()
    # Another console, though nothing runs, reads it from the disk.
    another = History(tmp_path / "state" / "metrics.sqlite")
    another.open()
    until(lambda: any(one.key == "running" for one in another.past("m")))
    another.close()


def test_what_is_pinned_can_be_let_go_when_nothing_runs_or_reports_it(watching: Watching, kept: History) -> None:
    assert kept.set_pin("m", "vllm:gone_family", pinned=True)
    watching.monitor.open()
    until(lambda: not watching.monitor.latest.loading)
    [family] = watching.monitor.families("m")
    assert (family.name, family.pinned, family.series) == ("vllm:gone_family", True, 0)
    with pytest.raises(NotFound, match="not running"):
        watching.monitor.pin("m", "vllm:another", pinned=True)
    watching.monitor.pin("m", "vllm:gone_family", pinned=False)
    assert watching.monitor.families("m") == ()
    assert kept.pins("m") == frozenset()
