"""The last hour of several figures: what is kept of it, and where its gaps are."""

import math
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.observe.timeline import FULL_S, KEPT_S, MOST_KEYS, MOST_POINTS, STEP_S, Step, Timeline

BEGAN = 1_700_000_000.0
"""A whole number of steps"""


def filled(seconds: int, *, every: float = 1.0) -> Timeline:
    timeline = Timeline()
    for index in range(int(seconds / every)):
        timeline.append(BEGAN + index * every, {"load": float(index)})
    return timeline


def test_fifteen_minutes_are_kept_as_they_were_measured() -> None:
    times, values = filled(FULL_S).points("load")
    assert times == tuple(BEGAN + index for index in range(FULL_S))
    assert values == tuple(float(index) for index in range(FULL_S))


def test_what_is_older_becomes_means_of_ten_seconds_and_ends_after_an_hour() -> None:
    times, values = filled(2 * KEPT_S).points("load")
    assert list(times) == sorted(set(times))
    end = BEGAN + 2 * KEPT_S
    assert end - KEPT_S - 2 * STEP_S < times[0] <= end - KEPT_S + STEP_S
    # The first ten seconds that are kept as a mean: the mean lies in their middle.
    assert times[1] - times[0] == STEP_S
    assert values[0] == times[0] - BEGAN - 0.5
    full = [time for time in times if time > end - FULL_S]
    assert len(full) == FULL_S - 1
    assert len(times) < FULL_S + KEPT_S / STEP_S


def test_what_could_not_be_measured_is_a_gap_and_not_a_nought() -> None:
    timeline = Timeline()
    for index in range(FULL_S + 100):
        known = 100 <= index < 105 or index >= 200
        timeline.append(BEGAN + index, {"load": 1.0 if known else None, "p99": math.nan, "other": 2.0})
    times, values = timeline.points("load")
    by_time = dict(zip(times, values, strict=True))
    assert by_time[BEGAN + 5] is None
    assert by_time[BEGAN + 150] is None
    assert by_time[BEGAN + 100] == 1.0
    assert timeline.points("p99") == ((), ())
    # Of the values in it, not of the seconds.
    mean = timeline.steps(int(BEGAN // STEP_S) + 9)[0]
    assert (mean.means["load"], mean.samples) == (1.0, STEP_S)


def test_a_figure_that_comes_and_goes_has_as_many_points_as_the_others() -> None:
    timeline = Timeline()
    timeline.append(BEGAN, {"a": 1.0})
    timeline.append(BEGAN + 1, {"b": 2.0})
    timeline.append(BEGAN + 2, {"a": 3.0, "b": 4.0})
    assert timeline.points("a") == ((BEGAN, BEGAN + 1, BEGAN + 2), (1.0, None, 3.0))
    assert timeline.points("b")[1] == (None, 2.0, 4.0)
    assert set(timeline.keys) == {"a", "b"}
    # It reports the one no longer: it is forgotten when its last value is too old.
    for index in range(3, KEPT_S + 60):
        timeline.append(BEGAN + index, {"a": 1.0})
    assert timeline.keys == ("a",)


def test_time_that_nobody_watched_is_a_gap() -> None:
    timeline = Timeline()
    timeline.append(BEGAN, {"load": 1.0})
    timeline.append(BEGAN + 300, {"load": 2.0})
    times, values = timeline.points("load")
    assert values == (1.0, None, 2.0)
    assert BEGAN < times[1] < BEGAN + 300
    # A slow scrape is none.
    timeline.append(BEGAN + 330, {"load": 3.0})
    assert timeline.points("load")[1] == (1.0, None, 2.0, 3.0)


def test_what_another_console_has_measured_comes_before_with_a_gap_between() -> None:
    first = int(BEGAN // STEP_S)
    before = [Step(first - 40 + index, 10, {"load": float(index)}) for index in range(12)]
    timeline = Timeline()
    for index in range(25):
        timeline.append(BEGAN + index, {"load": 7.0, "new": 1.0})
    timeline.put_before([*before, Step(first, 10, {"load": 99.0})])
    times, values = timeline.points("load")
    assert times[0] == (first - 40 + 0.5) * STEP_S
    assert values == (*(float(index) for index in range(12)), None, *([7.0] * 25))
    assert timeline.points("new")[1] == (*([None] * 13), *([1.0] * 25))
    # And where nothing has been measured here yet.
    empty = Timeline()
    empty.put_before(before)
    empty.append(BEGAN, {"load": 8.0})
    assert empty.points("load")[1] == (*(float(index) for index in range(12)), None, 8.0)
    assert empty.steps(first - 30)[-1] == Step(first - 28, 0, {})


def test_the_means_of_each_step_are_told_once_it_is_over() -> None:
    timeline = filled(25)
    number = int(BEGAN // STEP_S)
    assert timeline.steps(number - 1) == [Step(number, 10, {"load": 4.5}), Step(number + 1, 10, {"load": 14.5})]
    assert timeline.steps(number) == [Step(number + 1, 10, {"load": 14.5})]
    assert timeline.steps(number + 1, unfinished=True) == [Step(number + 2, 5, {"load": 22.0})]
    assert timeline.steps(number + 2, unfinished=True) == []


@pytest.mark.parametrize("back", [1, 25, FULL_S, 2 * KEPT_S])
def test_a_clock_that_is_set_back_leaves_no_times_out_of_order(back: int) -> None:
    timeline = filled(KEPT_S)
    timeline.append(BEGAN + KEPT_S - back, {"load": -1.0})
    times, values = timeline.points("load")
    assert (times[-1], values[-1]) == (BEGAN + KEPT_S - back, -1.0)
    assert all(earlier < later for earlier, later in pairwise(times))
    timeline.append(BEGAN + KEPT_S - back + 1, {"load": -2.0})
    assert timeline.points("load")[1][-1] == -2.0


def test_it_stays_bounded_however_often_and_however_much_is_measured() -> None:
    fast = filled(FULL_S, every=0.25)
    assert len(fast.points("load")[0]) <= MOST_POINTS + 4 * STEP_S + KEPT_S / STEP_S
    wide = Timeline()
    for at in range(3):
        wide.append(BEGAN + at, {f"{at}-{index}": 1.0 for index in range(MOST_KEYS)})
    assert len(wide.keys) == MOST_KEYS


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 200), st.one_of(st.none(), st.floats(-1e9, 1e9), st.just(math.nan), st.just(math.inf))
        ),
        max_size=200,
    )
)
def test_points_are_in_order_and_the_newest_value_is_the_last(pieces: list[tuple[float, float | None]]) -> None:
    timeline, at, last = Timeline(), BEGAN, None
    for seconds, value in pieces:
        at += seconds
        timeline.append(at, {"load": value, "always": 1.0})
        last = value if value is not None and math.isfinite(value) else None
    times, values = timeline.points("load")
    assert len(times) == len(values)
    assert all(earlier < later for earlier, later in pairwise(times))
    assert all(value is None or math.isfinite(value) for value in values)
    if values:
        assert (times[-1], values[-1]) == (at, last)
        assert times[0] >= at - KEPT_S - 2 * STEP_S


def test_it_may_be_read_while_it_is_written() -> None:
    timeline, ended = Timeline(), threading.Event()
    uneven: list[tuple[int, int]] = []

    def read() -> None:
        while not ended.is_set():
            times, values = timeline.points("load")
            if len(times) != len(values):
                uneven.append((len(times), len(values)))

    reader = threading.Thread(target=read)
    reader.start()
    for index in range(3000):
        timeline.append(BEGAN + index, {"load": float(index)})
    ended.set()
    reader.join()
    assert uneven == []
