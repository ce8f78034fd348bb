"""How the history keeps what a quantile can be said to be: as a figure beside it, there while it was at a bound.

So a bound goes wherever its figure goes, into means and to disk, and a file from before there were any, or a program
that does not know them, reads as ever. A mean of which a part was below a bound is itself no more than an upper limit,
and one of which a part was beyond a bound a lower one, which says more: who is slow must not be hidden.
"""

from collections.abc import Collection, Mapping

from engine.metrics_reading import Bound
from engine.observe.series import Computed
from engine.observe.timeline import Timeline

_MARKS = (Bound.ABOVE, Bound.BELOW)
THERE = 1.0


def with_bounds(computed: Mapping[str, Computed]) -> dict[str, float | None]:
    """The values as a timeline takes them."""
    values = {key: one.value for key, one in computed.items()}
    at_bound = [(_mark(one.bound, key), one) for key, one in computed.items() if one.bound]
    return values | {mark: THERE for mark, one in at_bound if one.value is not None}


def bound_of(key: str, means: Collection[str]) -> Bound:
    """Of a mean, by the keys of those that were measured with it."""
    return next((bound for bound in _MARKS if _mark(bound, key) in means), Bound.EXACT)


def kept_with(key: str, keys: Collection[str]) -> tuple[str, ...]:
    """The figure and what belongs to it, of those that there are."""
    return tuple(one for one in (key, *_marks(key)) if one in keys)


def last_value(timeline: Timeline, key: str) -> tuple[float, Bound] | None:
    """The newest that is no gap, with what can be said of it; None when there is none."""
    last = _last(timeline, key)
    if last is None:
        return None
    at, value = last
    there = [mark for mark in _marks(key) if (marked := _last(timeline, mark)) and marked[0] == at]
    return value, bound_of(key, there)


def _last(timeline: Timeline, key: str) -> tuple[float, float] | None:
    times, values = timeline.points(key)
    known = ((at, value) for at, value in zip(reversed(times), reversed(values), strict=True) if value is not None)
    return next(known, None)


def _marks(key: str) -> tuple[str, ...]:
    return tuple(_mark(bound, key) for bound in _MARKS)


def _mark(bound: Bound, key: str) -> str:
    return f"{bound.value}{key}"
