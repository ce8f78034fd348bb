"""What an estimate means for a start that is under way, in seconds. Light to import: the first paint needs it."""

from engine.snapshot import Estimate

LEAST_LATE_S = 3.0
ENOUGH = 5
"""With fewer launches `low` and `high` are the shortest and the longest"""


def late_from(estimate: Estimate) -> float:
    """A few launches say little of the spread, and a second more or less says nothing at all."""
    return max(estimate.high * (1.1 if estimate.launches >= ENOUGH else 1.5), estimate.high + LEAST_LATE_S)


def remaining(estimate: Estimate, elapsed: float) -> float | None:
    """Until its usual end and, when that has passed, until its latest; None past that, where nothing can be said."""
    if elapsed > estimate.high:
        return None
    return (estimate.typical if elapsed < estimate.typical else estimate.high) - elapsed
