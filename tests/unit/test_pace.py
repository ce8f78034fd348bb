from hypothesis import given
from hypothesis import strategies as st

from engine.observe.pace import BEATS, next_beat

moments = st.floats(0, 1e7)
beats = st.integers(0, BEATS - 1).map(lambda number: number / BEATS)
SLIGHT = 1e-6


@given(moments, st.floats(1, 60), beats, st.floats(0, 100))
def test_it_is_the_nearest_beat_and_not_past(last: float, every_s: float, beat_s: float, later: float) -> None:
    now = last + later
    due = next_beat(last, every_s, beat_s, now)
    from_whole = (due - beat_s) % 1
    assert min(from_whole, 1 - from_whole) < SLIGHT
    assert now - SLIGHT < due
    assert abs(due - (last + every_s)) <= 0.5 + SLIGHT or (due > last + every_s and due <= now + 1 + SLIGHT)


@given(moments, st.integers(1, 5), beats)
def test_who_is_not_late_keeps_its_time(began: float, every_s: int, beat_s: float) -> None:
    due = next_beat(began, 1, beat_s, began)
    for _ in range(20):
        after = next_beat(due, every_s, beat_s, due + 0.3)
        assert abs(after - due - every_s) < SLIGHT
        due = after
