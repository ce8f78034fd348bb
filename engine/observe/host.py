"""Samples this machine's CPU and memory."""

import os
from collections import deque

from engine.gpu_reading import HostLoad

HISTORY_SAMPLES = 60
FIRST_SAMPLE_S = 0.1


class HostSampler:
    """Blocking; call it from one thread, about once a second: the CPU's load is that since the call before."""

    def __init__(self) -> None:
        self._history: deque[float] = deque(maxlen=HISTORY_SAMPLES)

    def sample(self) -> HostLoad | None:
        """None where the system does not say. The first call takes `FIRST_SAMPLE_S`, to have something to measure."""
        import psutil

        try:
            cpu = psutil.cpu_percent(interval=None if self._history else FIRST_SAMPLE_S)
            memory = psutil.virtual_memory()
            load_1m = os.getloadavg()[0]
        except (psutil.Error, OSError):
            return None
        self._history.append(cpu)
        return HostLoad(
            cpu=cpu,
            cores=psutil.cpu_count() or 1,
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            load_1m=load_1m,
            history=tuple(self._history),
        )
