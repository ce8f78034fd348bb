"""What is kept of metrics on disk, by consoles that come and go, and how it stays bounded."""

import os
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.metrics_reading import Bound, Group, Series
from engine.observe import history_file, metric_history
from engine.observe.history_file import COARSE_KEPT_S, FINE_KEPT_S, WINDOW_S, HistoryFile, to_text
from engine.observe.kept_bounds import bound_of
from engine.observe.metric_history import History
from engine.observe.metrics import MetricsTracker
from engine.observe.timeline import KEPT_S, STEP_S, Step
from tests.unit.operations_bench import until

WAITING = Series("waiting", "Waiting", "requests", 3.0, "vllm:num_requests_waiting", group=Group.REQUESTS, of="m")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "metrics.sqlite"


def fill(history: History, subject: str, began: float, seconds: int, **values: float) -> None:
    for second in range(seconds):
        history.append(subject, began + second, values)


def rows(path: Path, seconds: int) -> int:
    with sqlite3.connect(path) as database:
        return int(database.execute("SELECT COUNT(*) FROM means WHERE seconds = ?", (seconds,)).fetchone()[0])


def test_the_next_console_shows_the_last_hour_with_the_time_that_nobody_watched_as_a_gap(path: Path) -> None:
    now = time.time() // STEP_S * STEP_S
    first = History(path)
    fill(first, "m", now - 1200, 300, waiting=4.0)
    first.describe("m", [WAITING])
    first._written.clear()  # as it was when this began to be measured
    first._written["m"] = 0
    first.open()
    first.close()

    second = History(path)
    second.open()
    timeline = second.timeline("m")
    timeline.append(now, {"waiting": 9.0})
    until(lambda: len(timeline.points("waiting")[0]) > 1)
    times, values = timeline.points("waiting")
    assert values == (*([4.0] * 30), None, 9.0)
    assert times[0] == now - 1200 + STEP_S / 2
    figure = second.figures("m")[0]
    assert (figure.title, figure.unit, figure.group, figure.of) == ("Waiting", "requests", Group.REQUESTS, "m")
    assert figure.value is None
    # What it has read is not written again.
    second.write()
    second.close()
    assert rows(path, STEP_S) == 30 + 1
    assert (path.stat().st_mode & 0o777, second.problem) == (0o600, "")


def test_two_consoles_that_measure_the_same_do_not_count_it_twice(path: Path) -> None:
    file, other = HistoryFile(path), HistoryFile(path)
    number = int(time.time() // STEP_S) - 5
    file.write({"m": (["a", "b"], [Step(number, 9, {"a": 1.0, "b": 2.0})])}, {})
    other.write({"m": (["a"], [Step(number, 3, {"a": 7.0})])}, {})
    assert file.steps("m", 0) == [Step(number, 9, {"a": 1.0, "b": 2.0})]
    # Who measured more often is believed.
    other.write({"m": (["a"], [Step(number, 10, {"a": 7.0})])}, {})
    assert file.steps("m", 0) == [Step(number, 10, {"a": 7.0})]
    at = float(number * STEP_S)
    assert [one.means for one in file.measured("m", at, at + STEP_S)] == [{"a": 7.0}]
    assert file.measured("m", at + 1, at + 60) == []


def test_many_consoles_at_once_lose_nothing(path: Path) -> None:
    number = int(time.time() // STEP_S) - 400
    problems: list[str] = []

    def write(console: int) -> None:
        file = HistoryFile(path)
        for index in range(10):
            step = Step(number + index, 10, {"a": float(index)})
            if not file.write({f"{console}": (["a"], [step]), "shared": (["a"], [step])}, {}):
                problems.append(file.problem)

    consoles = [threading.Thread(target=write, args=(console,)) for console in range(4)]
    for one in consoles:
        one.start()
    for one in consoles:
        one.join()
    assert problems == []
    file = HistoryFile(path)
    assert [len(file.steps(name, 0)) for name in ("0", "1", "2", "3", "shared")] == [10] * 5


def test_after_a_day_minutes_are_kept_and_after_a_week_nothing(path: Path) -> None:
    file = HistoryFile(path)
    now = time.time()
    began = (now - FINE_KEPT_S - WINDOW_S) // WINDOW_S * WINDOW_S
    number = int(began) // STEP_S
    steps = [Step(number + index, 10 if index % 2 else 5, {"a": float(index % 6)}) for index in range(66)]
    steps.append(Step(number + 70, 0, {}))
    file.write({"m": (["a"], steps), "gpu:GPU-1": (["power"], [Step(number + 3, 10, {"power": 300.0})])}, {})
    file.tidy(began + FINE_KEPT_S + WINDOW_S + 1)
    assert (rows(path, 60), rows(path, STEP_S)) == (11, 7)
    minutes = file.measured("m", began, began + WINDOW_S)
    assert [(one.at, one.seconds, one.samples) for one in minutes] == [
        (began + 60 * index, 60, 45) for index in range(10)
    ]
    # 0, 2 and 4 were measured half as often as 1, 3 and 5.
    assert minutes[0].means == pytest.approx({"a": ((0 + 2 + 4) * 5 + (1 + 3 + 5) * 10) / 45})
    file.tidy(began + COARSE_KEPT_S + 2 * WINDOW_S)
    file.tidy(began + COARSE_KEPT_S + 2 * WINDOW_S)
    assert (rows(path, 60), rows(path, STEP_S)) == (0, 0)


def test_the_file_stays_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_file, "MOST_BYTES", 1 << 19)
    monkeypatch.setattr(history_file, "FINE_LEAST_S", 2 * WINDOW_S)
    file, now = HistoryFile(path), time.time()
    number, sizes = int(now // STEP_S) - FINE_KEPT_S // 3 // STEP_S, []
    keys = [f"figure-{index}" for index in range(60)]
    while number * STEP_S < now:
        steps = [Step(number + index, 10, dict.fromkeys(keys, 1.0)) for index in range(60)]
        file.write({f"model-{model}": (keys, steps) for model in range(5)}, {})
        number += 60
        file.tidy(number * STEP_S)
        sizes.append(path.stat().st_size)
    assert file.problem == ""
    assert max(sizes) < 1 << 20
    assert sizes[-1] <= max(sizes[len(sizes) // 2 :])
    # The newest is there, and of what is older some of it, as minutes.
    assert len(file.steps("model-3", now - WINDOW_S)) > 50
    assert rows(path, 60) > 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_state_folder_that_may_not_be_written_hurts_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.parent.chmod(0o500)
    _goes_on_in_memory(path)


def test_a_place_where_no_file_can_be_hurts_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    _goes_on_in_memory(tmp_path / "state" / "metrics.sqlite")


def test_a_damaged_file_hurts_nothing(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 1000)
    _goes_on_in_memory(path)


def _goes_on_in_memory(path: Path) -> None:
    history = History(path)
    history.open()
    now = time.time()
    fill(history, "m", now - 60, 60, waiting=1.0)
    history.write()
    assert history.set_pin("m", "nv_energy", pinned=True) is False
    assert history.pins("m") == {"nv_energy"}
    assert str(path) in history.problem
    assert history.timeline("m").points("waiting")[1] == (1.0,) * 60
    assert history.measured("m", now - 60, now) != []
    history.close()


def test_a_full_disk_is_told_and_what_could_not_be_written_comes_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(path)
    now = time.time()
    history.timeline("m")
    history._written["m"] = 0
    fill(history, "m", now - 100, 100, **{f"figure-{index}": 1.0 for index in range(300)})
    database = history._file._database
    with monkeypatch.context() as small:
        small.setattr(database, "_schema", history_file.SCHEMA + "PRAGMA max_page_count = 1;")
        history.write()
    assert "full" in history.problem
    history.write()
    assert history.problem == ""
    assert len(HistoryFile(path).steps("m", now - KEPT_S)) >= 9


def test_what_nobody_has_measured_for_an_hour_leaves_the_memory(path: Path) -> None:
    history = History(path)
    gone, now = history.timeline("gone"), time.time()
    gone.append(now - KEPT_S - 60, {"a": 1.0})
    history._unread.clear()
    history.append("here", now, {"a": 1.0})
    history.write()
    assert set(history._kept) == {"here"}
    # Somebody still holds it: it answers again, and it is the same.
    assert history.timeline("gone") is gone


def test_a_clock_that_was_set_back_does_not_stop_the_writing(path: Path) -> None:
    history, now = History(path), time.time()
    history.timeline("m")
    fill(history, "m", now + 3600, 30, a=1.0)
    history.write()
    fill(history, "m", now - 60, 60, a=2.0)
    history.write()
    values = {value for step in HistoryFile(path).steps("m", now - KEPT_S) for value in step.means.values()}
    assert 2.0 in values


def test_pins_are_for_every_console(path: Path) -> None:
    first = History(path)
    assert first.pins("m") == frozenset()
    assert first.set_pin("m", "nv_energy", pinned=True)
    assert first.set_pin("m", "nv_power", pinned=True)
    assert first.set_pin("m", "nv_power", pinned=False)
    assert first.pins("m") == {"nv_energy"}
    assert History(path).pins("m") == {"nv_energy"}
    assert History(path).pins("other") == frozenset()


def test_it_is_written_while_it_is_open(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_history, "WRITE_EVERY_S", 0.05)
    history = History(path)
    history.open()
    history.timeline("m")
    history._written["m"] = 0
    fill(history, "m", time.time() - 60, 60, a=1.0)
    until(lambda: bool(HistoryFile(path).steps("m", 0)))
    history.close()


def exposition(fast: int, slow: int) -> str:
    """As vLLM writes it: first tokens within the first bucket, and beyond the last bound."""
    return f"""\
vllm:time_to_first_token_seconds_bucket{{le="0.005"}} {fast}
vllm:time_to_first_token_seconds_bucket{{le="10.0"}} {fast}
vllm:time_to_first_token_seconds_bucket{{le="+Inf"}} {fast + slow}
"""


@pytest.mark.parametrize(("fast", "slow", "bound"), [(1, 0, Bound.BELOW), (0, 1, Bound.ABOVE)])
def test_what_was_below_or_beyond_a_histograms_bounds_stays_so_on_disk(
    path: Path, fast: int, slow: int, bound: Bound
) -> None:
    first, now = History(path), time.time() // STEP_S * STEP_S
    tracker = MetricsTracker("http://127.0.0.1:1/metrics", timeline=first.timeline("m"))
    first._written["m"] = 0
    for second in range(300):
        tracker.update(exposition(second * fast, second * slow), now - 300 + second)
    [live] = [one for one in tracker.reading(now).series if one.key == "ttft_p99"]
    assert live.bound is bound
    first.describe("m", tracker.current(now).series)
    first.write()
    # It has stopped, and so has the console.
    for history in (first, History(path)):
        history.open()
        history.timeline("m")
        until(lambda history=history: bool(history.past("m")))  # type: ignore[misc]
        [kept] = [one for one in history.past("m") if one.key == "ttft_p99"]
        assert kept.value == pytest.approx(live.value)
        assert kept.bound is bound
        assert all(not one.key.startswith(("<", ">")) for one in history.past("m"))
        history.close()
    # A day later it is a minute's mean.
    file = HistoryFile(path)
    file.tidy(now + FINE_KEPT_S + 2 * WINDOW_S)
    minutes = [one for one in file.measured("m", now - 400, now) if one.seconds == 60]
    assert minutes
    assert {bound_of("ttft_p99", one.means) for one in minutes} == {bound}


def test_only_so_many_figures_are_kept_and_none_without_its_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_history, "MOST_KEYS", 4)
    history, now = History(path), time.time()
    history.timeline("m")
    history._written["m"] = 0
    fill(history, "m", now - 60, 60, **{"a": 1.0, "b": 1.0, "c": 1.0, "<c": 1.0, "d": 1.0, "0": 1.0})
    history.describe("m", [replace(WAITING, key=key) for key in ("c", "b", "a", "d")])
    history.write()
    step = HistoryFile(path).steps("m", 0)[-1]
    assert step.means.keys() == {"c", "<c", "b", "a"}


def test_a_file_from_before_there_were_bounds_is_read_as_ever(path: Path) -> None:
    number = int(time.time() // STEP_S) - 5
    HistoryFile(path).write(
        {"m": (["ttft_p99"], [Step(number, 9, {"ttft_p99": 0.3})])}, {"m": to_text([replace(WAITING, key="ttft_p99")])}
    )
    history = History(path)
    history.open()
    history.timeline("m")
    until(lambda: bool(history.past("m")))
    [figure] = history.past("m")
    assert figure.value == pytest.approx(0.3)
    assert figure.bound is Bound.EXACT
    history.close()
