"""The last hour of each GPU."""

from collections.abc import Iterable, Sequence

from engine.gpu_reading import Gpu
from engine.metrics_reading import Series
from engine.observe.metric_history import History
from engine.observe.timeline import Timeline

MOST_KNOWN = 256
"""Where servers' metrics tell of GPUs, they may name others every second"""
SUBJECT = "gpu:"
"""Before the UUID, as subject of the history that is kept"""
_FIGURES = {
    "utilization": ("Utilization", "%", "NVML: share of time in which a kernel ran"),
    "memory_used": ("Memory used", "bytes", "NVML"),
    "power": ("Power", "W", "NVML"),
    "temperature": ("Temperature", "°C", "NVML"),
    "pcie_received": ("PCIe received", "bytes/s", "NVML, over 20 ms every 5 s"),
    "pcie_sent": ("PCIe sent", "bytes/s", "NVML, over 20 ms every 5 s"),
    "nvlink_received": ("NVLink received", "bytes/s", "NVML: rate of its counter over all links"),
    "nvlink_sent": ("NVLink sent", "bytes/s", "NVML: rate of its counter over all links"),
}


class GpuHistory:
    """One thread adds; `series` is for any."""

    def __init__(self, history: History | None = None) -> None:
        self._keep = history
        self._timelines: dict[str, Timeline] = {}
        """By UUID"""
        self._latest: dict[int, tuple[Gpu, Timeline]] = {}

    def add(self, at: float, gpus: Iterable[Gpu]) -> None:
        """`at`: seconds since the epoch."""
        timelines: dict[str, Timeline] = {}
        for gpu in gpus:
            # Without one it has been lost since before this program began; with another's, it cannot be told from it.
            if not gpu.uuid or gpu.uuid in timelines:
                self._latest.pop(gpu.index, None)
                continue
            # Asked for anew each time: what is silent for an hour is forgotten there.
            timeline = (
                self._keep.timeline(SUBJECT + gpu.uuid) if self._keep else self._timelines.get(gpu.uuid, Timeline())
            )
            timelines[gpu.uuid] = self._timelines[gpu.uuid] = timeline
            timeline.append(at, {key: getattr(gpu, key) for key in _FIGURES})
            self._latest[gpu.index] = (gpu, timeline)
        if len(self._timelines) > MOST_KNOWN:
            self._timelines = timelines

    def series(self, index: int) -> Sequence[Series]:
        """Those of which there has been a value; none for a GPU that is not known."""
        latest = self._latest.get(index)
        if latest is None:
            return ()
        gpu, timeline = latest
        found = []
        for key, (title, unit, source) in _FIGURES.items():
            times, values = timeline.points(key)
            if any(value is not None for value in values):
                found.append(Series(key, title, unit, getattr(gpu, key), gpu.source or source, times, values))
        return found
