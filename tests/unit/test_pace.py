import math

from hypothesis import given
from hypothesis import strategies as st

from engine.observe.pace import BEATS, LEAST_S, next_beat

moments = st.floats(0, 1e7)
beats = st.integers(0, BEATS - 1).map(lambda number: number / BEATS)
SLIGHT = 1e-6


@given(moments, st.floats(1, 60), beats, st.floats(0, 100))
def test_it_is_the_nearest_beat_and_not_past(last: float, every_s: float, beat_s: float, later: float) -> None:
    now = last + later
    due = next_beat(last, every_s, beat_s, now)
    from_whole = (due - beat_s) % 1
    assert min(from_whole, 1 - from_whole) < SLIGHT
    assert now + LEAST_S - SLIGHT < due
    wanted = last + math.ceil(every_s)
    assert abs(due - wanted) <= 0.5 + SLIGHT or (due > wanted and due <= now + LEAST_S + 1 + SLIGHT)


@given(moments, st.integers(1, 5), beats)
def test_who_is_not_late_keeps_its_time(began: float, every_s: int, beat_s: float) -> None:
    due = next_beat(began, 1, beat_s, began)
    for _ in range(20):
        after = next_beat(due, every_s, beat_s, due + 0.3)
        assert abs(after - due - every_s) < SLIGHT
        due = after


@given(moments.map(math.floor), beats, st.floats(0, 3))
def test_who_answers_late_is_left_in_peace_for_a_moment_and_for_no_longer(
    began: int, beat_s: float, took_s: float
) -> None:
    answered = began + beat_s + took_s
    rest = next_beat(began + beat_s, 1, beat_s, answered) - answered
    assert LEAST_S - SLIGHT < rest <= 1 + LEAST_S + SLIGHT


@given(moments.map(math.floor), beats, st.floats(1, 30))
def test_a_rest_that_is_to_spare_the_processor_is_no_shorter(began: int, beat_s: float, every_s: float) -> None:
    assert next_beat(began + beat_s, every_s, beat_s, began + beat_s) >= began + beat_s + every_s - SLIGHT
