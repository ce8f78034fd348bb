"""The last hour of each GPU."""

from collections.abc import Iterable, Sequence

from engine.gpu_reading import Gpu
from engine.metrics_reading import Series
from engine.observe.metric_history import History
from engine.observe.timeline import Timeline

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
        self._latest: dict[int, Gpu] = {}

    def add(self, at: float, gpus: Iterable[Gpu]) -> None:
        """`at`: seconds since the epoch."""
        for gpu in gpus:
            if not gpu.uuid:  # it has been lost since before this program began
                continue
            # Asked for anew each time: what is silent for an hour is forgotten there.
            timeline = (
                self._keep.timeline(SUBJECT + gpu.uuid) if self._keep else self._timelines.get(gpu.uuid, Timeline())
            )
            self._timelines[gpu.uuid] = timeline
            timeline.append(at, {key: getattr(gpu, key) for key in _FIGURES})
            self._latest[gpu.index] = gpu

    def series(self, index: int) -> Sequence[Series]:
        """Those of which there has been a value; none for a GPU that is not known."""
        gpu = self._latest.get(index)
        timeline = self._timelines.get(gpu.uuid) if gpu else None
        if gpu is None or timeline is None:
            return ()
        found = []
        for key, (title, unit, source) in _FIGURES.items():
            times, values = timeline.points(key)
            if any(value is not None for value in values):
                found.append(Series(key, title, unit, getattr(gpu, key), gpu.source or source, times, values))
        return found
