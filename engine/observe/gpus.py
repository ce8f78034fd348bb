"""Samples the machine's GPUs, and its CPU and memory, and keeps their recent past."""

import time
from collections import deque
from dataclasses import dataclass, field, replace

from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading
from engine.observe.host import HostSampler
from engine.observe.nvml import DriverError, DriverMissingError, Nvml, Readout

HISTORY_SAMPLES = 60
STALE_AFTER_S = 5.0
RETRY_S = 10.0
"""Between attempts to initialise NVML: slow with many GPUs, and without a driver it may spawn a helper each time"""

NO_DRIVER = "No NVIDIA driver was found; this machine's CPU and memory are shown instead."
NO_GPU = "The driver reports no GPU; this machine's CPU and memory are shown instead."


@dataclass(slots=True)
class _Past:
    """What outlives a sample of the GPU with this index."""

    uuid: str = ""
    name: str = ""
    utilization: deque[float | None] = field(default_factory=lambda: deque(maxlen=HISTORY_SAMPLES))


class GpuSampler:
    """Blocking; call it from one thread, about once a second. Nothing is raised: failures are in the reading."""

    def __init__(self, retry_s: float = RETRY_S) -> None:
        self._retry_s = retry_s
        self._host = HostSampler()
        self._nvml: Nvml | None = None
        self._lost = False
        """A GPU, or one more, that may be there when NVML is initialised anew"""
        self._opened_at = float("-inf")
        """Last attempt to initialise NVML, on the monotonic clock"""
        self._nothing = (Freshness.NONE, NO_DRIVER)
        """Why there are no GPUs, while there are none"""
        self._pasts: dict[int, _Past] = {}
        self._last: GpuReading | None = None
        """The last reading that had GPUs"""

    @property
    def nvml(self) -> Nvml | None:
        """Initialised while the driver answers; for further questions to it."""
        return self._nvml

    def sample(self, *, limits: bool = True) -> GpuReading:
        """`limits`: with the GPUs' power limits."""
        host = self._host.sample()
        if self._lost and self._may_open():
            self.close()
        readouts: tuple[Readout, ...] = ()
        try:
            if self._nvml is None and self._may_open():
                self._opened_at = time.monotonic()
                self._nvml, self._lost = Nvml(), False
            if self._nvml is not None:
                readouts = self._nvml.read(limits=limits)
                self._nothing = (Freshness.NONE, NO_GPU)
        except DriverMissingError as error:
            self._nothing = (Freshness.FAILED, str(error)) if self._last else (Freshness.NONE, NO_DRIVER)
            self.close()
        except DriverError as error:
            self._nothing = (Freshness.FAILED, str(error))
            self.close()
        at = time.time()
        if self._nvml is not None and readouts:
            gpus = tuple(self._gpu(readout) for readout in readouts)
            self._last = GpuReading(at=at, freshness=Freshness.FRESH, gpus=gpus, driver=self._nvml.driver, host=host)
            self._lost = any(readout.lost for readout in readouts) or self._nvml.recounted
            return self._last
        freshness, message = self._nothing
        if freshness is Freshness.FAILED and self._last is not None:
            return replace(stale(self._last, message), host=host)
        if self._nvml is not None and self._may_open():
            self.close()
        return GpuReading(at=at, freshness=freshness, message=message, host=host)

    def close(self) -> None:
        """Lets the driver go; `sample` takes it up again."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None

    def _may_open(self) -> bool:
        return time.monotonic() - self._opened_at >= self._retry_s

    def _gpu(self, readout: Readout) -> Gpu:
        past = self._pasts.get(readout.index)
        if past is None or (readout.uuid and past.uuid and readout.uuid != past.uuid):
            past = self._pasts[readout.index] = _Past()
        past.uuid, past.name = readout.uuid or past.uuid, readout.name or past.name
        past.utilization.append(readout.utilization)
        return Gpu(
            index=readout.index,
            uuid=past.uuid,
            name=past.name,
            utilization=readout.utilization,
            memory_used=readout.memory_used,
            memory_total=readout.memory_total,
            temperature=readout.temperature,
            power=readout.power,
            power_limit=readout.power_limit,
            error=readout.problem,
            history=tuple(past.utilization),
            memory_reserved=readout.memory_reserved,
            memory_busy=readout.memory_busy,
            unsupported=readout.unsupported,
        )


def stale(reading: GpuReading, why: str) -> GpuReading:
    """The same values, marked as old."""
    since = time.strftime("%H:%M:%S", time.localtime(reading.at))
    return replace(reading, freshness=Freshness.STALE, message=f"No reading since {since}. {why}".rstrip())


def aged(reading: GpuReading, now: float) -> GpuReading:
    """The reading as it is to be shown at `now`: stale when the sampler has hung since it was taken."""
    # The clock may have been set back.
    if reading.freshness is Freshness.FRESH and abs(now - reading.at) > STALE_AFTER_S:
        return stale(
            reading, "The NVIDIA driver does not answer: it may be resetting a GPU, or hang; try `nvidia-smi`."
        )
    return reading
