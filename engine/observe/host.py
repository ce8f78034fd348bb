"""Samples this machine's CPU and memory."""

import os
import time
from collections import deque

from engine.gpu_reading import HostLoad

HISTORY_SAMPLES = 60
FIRST_SAMPLE_S = 0.1


class HostSampler:
    """Blocking; not for several threads at once. About once a second: the CPU's load is that since the call before."""

    def __init__(self) -> None:
        self._history: deque[float] = deque(maxlen=HISTORY_SAMPLES)
        self._before: tuple[float, float] | None = None
        """Seconds of all cores until the last call: those in which they worked, and all"""

    def sample(self) -> HostLoad | None:
        """None where the system does not say. The first call takes `FIRST_SAMPLE_S`, to have something to measure."""
        import psutil

        try:
            if self._before is None:
                self._before = _worked()
                time.sleep(FIRST_SAMPLE_S)
            before, self._before = self._before, _worked()
            memory = psutil.virtual_memory()
            load_1m = os.getloadavg()[0]
        except (psutil.Error, OSError):
            return None
        worked, passed = (now - then for now, then in zip(self._before, before, strict=True))
        cpu = round(min(100.0, max(0.0, 100 * worked / passed)), 1) if passed > 0 else 0.0
        self._history.append(cpu)
        return HostLoad(
            cpu=cpu,
            cores=psutil.cpu_count() or 1,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            load_1m=load_1m,
            history=tuple(self._history),
        )


def _worked() -> tuple[float, float]:
    """As `psutil.cpu_percent` counts, which remembers the last call of each thread apart: the monitor's threads take
    turns. Guests' time is in the user's already."""
    import psutil

    times = psutil.cpu_times()
    passed = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return passed - times.idle - getattr(times, "iowait", 0.0), passed
