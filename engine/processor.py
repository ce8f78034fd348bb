"""What the operating system says of the processor time that a thread did not get."""

import contextlib
from pathlib import Path

_TOLD = Path("/proc/thread-self/schedstat")


def waited_s() -> float | None:
    """For how long the calling thread could have run so far, and had no processor; None where that is not told.

    Linux tells it: the second number, in ns (Documentation/scheduler/sched-stats.rst).
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(_TOLD.read_bytes().split()[1]) / 1e9
    return None
