"""How quantities are written."""

import time

from engine.durations import duration as duration


def now() -> float:
    """Seconds since the epoch; tests of pictures replace it."""
    return time.time()


def roughly(seconds: float) -> str:
    """As much of it as an estimate is worth: 14s, 3m, 2h07m"""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes = round(whole / 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def clock(at: float) -> str:
    """Local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(at))


def moment(at: float) -> str:
    """Local date and time of day."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
