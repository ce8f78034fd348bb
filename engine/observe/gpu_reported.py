"""The GPUs of which no driver tells here and a server's metrics do: in a container, or on another machine."""

from collections import deque
from collections.abc import Mapping

from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading
from engine.observe.gpu_shares import Figures
from engine.observe.gpus import HISTORY_SAMPLES


class ReportedGpus:
    """For one thread."""

    def __init__(self) -> None:
        self._loads: dict[str, deque[float | None]] = {}
        """By UUID: utilization, as `Gpu.history`"""

    def put_into(self, reading: GpuReading, reported: Mapping[str, tuple[Figures, ...]]) -> GpuReading:
        """The reading with GPUs by their metrics, where it has none; each as the first deployment tells that sees it.

        They have no indices of their own: they are numbered in the order in which they are told.
        """
        first: dict[str, tuple[str, Figures]] = {}
        for name in sorted(reported):
            for figures in reported[name]:
                first.setdefault(figures.uuid, (name, figures))
        if not first:
            return reading
        self._loads = {uuid: self._loads.get(uuid, deque(maxlen=HISTORY_SAMPLES)) for uuid in first}
        gpus = tuple(self._gpu(index, *told) for index, told in enumerate(first.values()))
        names = ", ".join(dict.fromkeys(name for name, _ in first.values()))
        message = f"No NVIDIA driver was found here: these are figures of the metrics of {names}."
        return GpuReading(reading.at, Freshness.FRESH, gpus, message, host=reading.host)

    def _gpu(self, index: int, name: str, figures: Figures) -> Gpu:
        load = self._loads[figures.uuid]
        load.append(figures.utilization)
        return Gpu(
            index=index,
            uuid=figures.uuid,
            name="GPU",
            utilization=figures.utilization,
            memory_used=figures.memory_used,
            memory_total=figures.memory_total,
            temperature=None,
            power=figures.power,
            power_limit=figures.power_limit,
            history=tuple(load),
            unsupported=("temperature", "clock", "processes"),
            source=f"metrics of {name}",
        )
