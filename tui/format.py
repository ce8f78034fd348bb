"""How quantities are written."""

import time


def now() -> float:
    """Seconds since the epoch; tests of pictures replace it."""
    return time.time()


def duration(seconds: float) -> str:
    """0.8s, 42s, 3m05s, 2h07m, 3d04h"""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


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
