"""The NVIDIA driver, asked through NVML (nvidia-ml-py). All calls block, for milliseconds when the driver is well."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from engine.gpu_reading import GpuProcess
from engine.text import clean_line

_MILLIWATTS = 1e-3


class DriverError(Exception):
    """The driver as a whole does not answer. `str()` is a sentence for the operator."""


class DriverMissingError(DriverError):
    """There is no driver, or it is not loaded."""


@dataclass(frozen=True, slots=True)
class Readout:
    """One GPU at one moment; None and empty where the driver does not say. Units as in `engine.snapshot.Gpu`."""

    index: int
    uuid: str = ""
    name: str = ""
    utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    problem: str = ""
    lost: bool = False
    """Nothing can be read until NVML is initialised anew, or at all"""


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Who has the memory of one GPU."""

    index: int
    uuid: str
    used: int | None
    """Bytes, by whomever"""
    processes: tuple[GpuProcess, ...] | None
    """None where the driver does not list them"""


@dataclass(slots=True)
class _Answers:
    """Asks one thing after another of one GPU and remembers what was refused."""

    nvml: Any
    refused: dict[str, list[str]] = field(default_factory=dict)
    """What was asked for, by the driver's reason"""
    lost: bool = False

    def ask(self, what: str, *calls: Callable[[], Any]) -> Any:
        """The answer of the first call that the driver knows; None when it refuses. Raises `DriverError`."""
        error: Exception | None = None
        for call in calls:
            try:
                return call()
            except (self.nvml.NVMLError_FunctionNotFound, self.nvml.NVMLError_NotSupported) as unknown:
                error = error or unknown
            except (
                self.nvml.NVMLError_Uninitialized,
                self.nvml.NVMLError_DriverNotLoaded,
                self.nvml.NVMLError_LibRmVersionMismatch,
            ) as gone:
                raise _driver_error(self.nvml, gone) from gone
            except (self.nvml.NVMLError, UnicodeDecodeError) as other:
                self.lost = self.lost or isinstance(other, self.nvml.NVMLError_GpuIsLost)
                error = other
                break
        self.refused.setdefault(clean_line(str(error)), []).append(what)
        return None

    def problem(self, index: int) -> str:
        if self.lost:
            return f"GPU {index} is lost. Reset it or restart the machine."
        refusals = [f"{', '.join(whats)} ({reason})" for reason, whats in self.refused.items()]
        return f"GPU {index} does not report {'; '.join(refusals)}." if refusals else ""


class Nvml:
    """An initialised NVML. The constructor raises `DriverError`."""

    def __init__(self) -> None:
        import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self.driver = clean_line(pynvml.nvmlSystemGetDriverVersion())
            self._count: int = pynvml.nvmlDeviceGetCount()
        except (pynvml.NVMLError, UnicodeDecodeError) as error:
            self.close()
            raise _driver_error(pynvml, error) from error
        self._handles: dict[int, Any] = {}
        self._identities: dict[int, tuple[str, str]] = {}

    def read(self) -> tuple[Readout, ...]:
        """Every GPU, by index. Raises `DriverError` when the driver went away; one GPU's failure is in its readout."""
        return tuple(self._read(index) for index in range(self._count))

    def uses(self) -> tuple[GpuUse, ...]:
        """Who has the memory of each GPU that can be read, by index. Raises `DriverError`."""
        found = (self._use(index) for index in range(self._count))
        return tuple(use for use in found if use)

    def close(self) -> None:
        # A driver that is gone, or was never there, has nothing to shut down.
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _read(self, index: int) -> Readout:
        nvml, answers = self._nvml, _Answers(self._nvml)
        handle = self._handle(index, answers)
        if handle is None:
            return Readout(index, problem=answers.problem(index), lost=True)
        uuid, name = self._identity(index, handle, answers)
        memory = self._memory(handle, answers)
        rates = answers.ask("utilization", lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
        temperature = answers.ask(
            "temperature",
            lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            lambda: nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU),
        )
        power = answers.ask("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        limit = answers.ask("its power limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        return Readout(
            index=index,
            uuid=uuid,
            name=name,
            utilization=None if rates is None else float(rates.gpu),
            memory_used=None if memory is None else int(memory.used),
            memory_total=None if memory is None else int(memory.total),
            temperature=None if temperature is None else float(temperature),
            power=None if power is None else power * _MILLIWATTS,
            power_limit=None if limit is None else limit * _MILLIWATTS,
            problem=answers.problem(index),
            lost=answers.lost,
        )

    def _use(self, index: int) -> GpuUse | None:
        nvml, answers = self._nvml, _Answers(self._nvml)
        handle = self._handle(index, answers)
        if handle is None:
            return None
        uuid, _ = self._identity(index, handle, answers)
        memory = self._memory(handle, answers)
        computing = answers.ask(
            "its processes",
            lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle),
            lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle),
        )
        drawing = answers.ask(
            "what draws",
            lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(handle),
            lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses_v2(handle),
        )
        # One that does both is in both lists, with the same memory.
        found = {int(one.pid): one.usedGpuMemory for one in (*(drawing or ()), *(computing or ()))}
        processes = tuple(GpuProcess(pid, None if used is None else int(used)) for pid, used in found.items())
        return GpuUse(
            index,
            uuid,
            used=None if memory is None else int(memory.used),
            processes=None if computing is None else processes,
        )

    def _handle(self, index: int, answers: _Answers) -> Any:
        """None when there is none to be had."""
        if index not in self._handles:
            handle = answers.ask("anything", lambda: self._nvml.nvmlDeviceGetHandleByIndex(index))
            if handle is None:
                return None
            self._handles[index] = handle
        return self._handles[index]

    def _identity(self, index: int, handle: Any, answers: _Answers) -> tuple[str, str]:
        """UUID and name; empty when the driver refuses one of them."""
        if index not in self._identities:
            uuid = answers.ask("its UUID", lambda: self._nvml.nvmlDeviceGetUUID(handle))
            name = answers.ask("its name", lambda: self._nvml.nvmlDeviceGetName(handle))
            if uuid is not None and name is not None:
                self._identities[index] = (clean_line(uuid), clean_line(name))
        return self._identities.get(index, ("", ""))

    def _memory(self, handle: Any, answers: _Answers) -> Any:
        nvml = self._nvml
        # Version 2 counts what the driver reserves for itself apart, as nvidia-smi does.
        return answers.ask(
            "memory",
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2),
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle),
        )


def _driver_error(nvml: Any, error: Exception) -> DriverError:
    if isinstance(error, nvml.NVMLError_LibraryNotFound | nvml.NVMLError_DriverNotLoaded):
        return DriverMissingError("The NVIDIA driver is not loaded.")
    if isinstance(error, nvml.NVMLError_LibRmVersionMismatch):
        return DriverError(
            "The NVIDIA driver's library and kernel module have different versions, as after an update: "
            "reload the driver or restart the machine."
        )
    if isinstance(error, nvml.NVMLError_NoPermission):
        return DriverError("This user may not use the NVIDIA driver: check the permissions of /dev/nvidia*.")
    return DriverError(f"The NVIDIA driver does not answer ({clean_line(str(error))}).")
