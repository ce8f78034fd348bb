"""What an estimate means for a start that is under way, in words. Light to import: the first paint needs it."""

from engine.snapshot import Estimate

LEAST_LATE_S = 3.0
ENOUGH = 5
"""With fewer launches `low` and `high` are the shortest and the longest"""


def late(estimate: Estimate | None, elapsed: float) -> str:
    """E.g. `late: usually 41 s, at most 55 s of 4 starts`; empty while it is not. `elapsed`: seconds."""
    if estimate is None or elapsed <= _late_from(estimate):
        return ""
    if estimate.launches == 1:
        return f"late: the one start known took {_words(estimate.typical)}"
    spread = "at most" if estimate.launches < ENOUGH else "nine in ten within"
    usual, most = _words(estimate.typical), _words(estimate.high)
    return f"late: usually {usual}, {spread} {most} of {estimate.launches} starts"


def left(estimate: Estimate | None, elapsed: float) -> str:
    """E.g. `~3 m left`; past its usual time `at most ~14 s left`; empty when it is late, or nothing is known."""
    seconds = remaining(estimate, elapsed)
    if estimate is None or seconds is None:
        return ""
    return f"{'at most ' if elapsed >= estimate.typical else ''}~{_rough(seconds)} left"


def remaining(estimate: Estimate | None, elapsed: float) -> float | None:
    """Seconds until its usual end and, when that has passed, until it is late; None when it is, or nothing is known."""
    if estimate is None or elapsed > estimate.high:
        return None
    return (estimate.typical if elapsed < estimate.typical else estimate.high) - elapsed


def _late_from(estimate: Estimate) -> float:
    """Seconds. A few launches say little of the spread, and a second more or less says nothing at all."""
    return max(estimate.high * (1.1 if estimate.launches >= ENOUGH else 1.5), estimate.high + LEAST_LATE_S)


def _words(seconds: float) -> str:
    """0.8 s, 41 s, 3 m 05 s, 2 h 07 m"""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def _rough(seconds: float) -> str:
    """As much of it as an estimate is worth: 14 s, 3 m, 2 h 07 m"""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} m" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} m"
