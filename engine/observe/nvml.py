"""The NVIDIA driver, asked through NVML (nvidia-ml-py). All calls block, for milliseconds when the driver is well."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from engine.gpu_reading import GpuProcess
from engine.text import clean_line

MILLIWATTS = 1e-3
NOT_AVAILABLE = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
"""What some drivers answer, with success, in place of a number (NVML_VALUE_NOT_AVAILABLE)"""

MOST_PERCENT = 100


class DriverError(Exception):
    """The driver as a whole does not answer. `str()` is a sentence for the operator."""


class DriverMissingError(DriverError):
    """There is no driver, or it is not loaded."""


@dataclass(frozen=True, slots=True)
class Readout:
    """One GPU at one moment; None and empty where the driver does not say. Units as in `engine.gpu_reading.Gpu`."""

    index: int
    uuid: str = ""
    name: str = ""
    utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    memory_reserved: int | None = None
    memory_busy: float | None = None
    problem: str = ""
    lost: bool = False
    """Nothing can be read until NVML is initialised anew, or at all"""
    unsupported: tuple[str, ...] = ()
    """Fields that this kind of GPU does not report"""


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
class Answers:
    """Asks one thing after another of one GPU and remembers what was refused."""

    nvml: Any
    refused: dict[str, list[str]] = field(default_factory=dict)
    """What was asked for, by the driver's reason; what the GPU does not support is not among it"""
    unsupported: list[str] = field(default_factory=list)
    lost: bool = False

    def ask(self, what: str, *calls: Callable[[], Any], fields: tuple[str, ...] | None = None) -> Any:
        """The answer of the first call that the driver knows; None when it refuses. Raises `DriverError`.

        `fields`: those of `engine.gpu_reading.Gpu` that it is for, where they are not called as `what` is.
        """
        for call in calls:
            try:
                return known(call())
            except (self.nvml.NVMLError_FunctionNotFound, self.nvml.NVMLError_NotSupported):
                continue
            except (
                self.nvml.NVMLError_Uninitialized,
                self.nvml.NVMLError_DriverNotLoaded,
                self.nvml.NVMLError_LibRmVersionMismatch,
            ) as gone:
                raise _driver_error(self.nvml, gone) from gone
            except (self.nvml.NVMLError, UnicodeDecodeError) as error:
                self.lost = self.lost or isinstance(error, self.nvml.NVMLError_GpuIsLost)
                whats = self.refused.setdefault(clean_line(str(error)), [])
                whats += [] if what in whats else [what]
                return None
        self.unsupported += [one for one in ((what,) if fields is None else fields) if one not in self.unsupported]
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
        except pynvml.NVMLError as error:
            raise _driver_error(pynvml, error) from error
        try:
            self.driver = clean_line(pynvml.nvmlSystemGetDriverVersion())
            self._count: int = pynvml.nvmlDeviceGetCount()
        except (pynvml.NVMLError, UnicodeDecodeError) as error:
            _shut_down(pynvml)
            raise _driver_error(pynvml, error) from error
        self._handles: dict[int, Any] = {}
        self._identities: dict[int, tuple[str, str]] = {}
        self._lock = threading.Lock()
        self._users = 1
        """Threads that use it; the last one shuts it down"""

    def read(self, *, limits: bool = True) -> tuple[Readout, ...]:
        """Every GPU, by index. Raises `DriverError` when the driver went away; one GPU's failure is in its readout.

        `limits`: with their power limits, which seldom change.
        """
        return tuple(self._read(index, limits=limits) for index in range(self._count))

    def uses(self) -> tuple[GpuUse, ...]:
        """Who has the memory of each GPU that can be read, by index. Raises `DriverError`."""
        found = (self._use(index) for index in range(self._count))
        return tuple(use for use in found if use)

    def reachable(self) -> Iterator[tuple[int, Any, Answers]]:
        """Index and handle of each GPU that has one, and who asks more of it. Raises `DriverError`."""
        for index in range(self._count):
            answers = Answers(self._nvml)
            handle = self._handle(index, answers)
            if handle is not None:
                yield index, handle, answers

    @property
    def recounted(self) -> bool:
        """Whether there are more GPUs now, or fewer, than when it was initialised, which alone makes them known."""
        try:
            return bool(self._nvml.nvmlDeviceGetCount() != self._count)
        except self._nvml.NVMLError:  # which reading them says, too
            return False

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Meanwhile it stays initialised, whoever closes it: a call under way must not lose its library."""
        with self._lock:
            self._users += 1
        try:
            yield
        finally:
            self.close()

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            last = not self._users
        if last:
            _shut_down(self._nvml)

    def _read(self, index: int, *, limits: bool) -> Readout:
        nvml, answers = self._nvml, Answers(self._nvml)
        handle = self._handle(index, answers)
        if handle is None:
            return Readout(index, problem=answers.problem(index), lost=True)
        uuid, name = self._identity(index, handle, answers)
        memory = self._memory(handle, answers)
        rates = answers.ask(
            "utilization",
            lambda: nvml.nvmlDeviceGetUtilizationRates(handle),
            fields=("utilization", "memory_busy"),
        )
        temperature = answers.ask(
            "temperature",
            lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            lambda: nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU),
        )
        power = answers.ask("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        limit = None
        if limits:
            limit = answers.ask(
                "its power limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle), fields=("power_limit",)
            )
        return Readout(
            index=index,
            uuid=uuid,
            name=name,
            utilization=None if rates is None else _percent(rates.gpu),
            memory_used=None if memory is None else known(int(memory.used)),
            memory_total=None if memory is None else known(int(memory.total)),
            temperature=None if temperature is None else float(temperature),
            power=None if power is None else power * MILLIWATTS,
            power_limit=None if limit is None else limit * MILLIWATTS,
            memory_reserved=known(int(memory.reserved)) if hasattr(memory, "reserved") else None,
            memory_busy=None if rates is None else _percent(rates.memory),
            problem=answers.problem(index),
            lost=answers.lost,
            unsupported=tuple(answers.unsupported),
        )

    def _use(self, index: int) -> GpuUse | None:
        answers = Answers(self._nvml)
        handle = self._handle(index, answers)
        if handle is None:
            return None
        uuid, _ = self._identity(index, handle, answers)
        memory = self._memory(handle, answers)
        return GpuUse(
            index,
            uuid,
            used=None if memory is None else known(int(memory.used)),
            processes=running(self._nvml, handle, answers),
        )

    def _handle(self, index: int, answers: Answers) -> Any:
        """None when there is none to be had."""
        if index not in self._handles:
            handle = answers.ask("anything", lambda: self._nvml.nvmlDeviceGetHandleByIndex(index))
            if handle is None:
                return None
            self._handles[index] = handle
        return self._handles[index]

    def _identity(self, index: int, handle: Any, answers: Answers) -> tuple[str, str]:
        """UUID and name; empty when the driver refuses one of them."""
        if index not in self._identities:
            uuid = answers.ask("its UUID", lambda: self._nvml.nvmlDeviceGetUUID(handle))
            name = answers.ask("its name", lambda: self._nvml.nvmlDeviceGetName(handle))
            if uuid is not None and name is not None:
                self._identities[index] = (clean_line(uuid), clean_line(name))
        return self._identities.get(index, ("", ""))

    def _memory(self, handle: Any, answers: Answers) -> Any:
        nvml = self._nvml
        # Version 2 counts what the driver reserves for itself apart, as nvidia-smi does.
        return answers.ask(
            "memory",
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2),
            lambda: nvml.nvmlDeviceGetMemoryInfo(handle),
            fields=("memory_used", "memory_total", "memory_reserved"),
        )


def running(nvml: Any, handle: Any, answers: Answers) -> tuple[GpuProcess, ...] | None:
    """The processes that have memory of a GPU; None where the driver does not list them. Raises `DriverError`."""
    computing = answers.ask(
        "its processes",
        lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle),
        lambda: nvml.nvmlDeviceGetComputeRunningProcesses_v2(handle),
        fields=("processes",),
    )
    if computing is None:
        return None
    drawing = answers.ask(
        "what draws",
        lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses_v3(handle),
        lambda: nvml.nvmlDeviceGetGraphicsRunningProcesses_v2(handle),
        fields=(),
    )
    # One that does both is in both lists, with the same memory.
    found = {int(one.pid): one.usedGpuMemory for one in (*(drawing or ()), *computing)}
    return tuple(GpuProcess(pid, None if used is None else int(used)) for pid, used in found.items())


def known(answer: Any) -> Any:
    """None for a number that is none."""
    return None if isinstance(answer, int) and answer in NOT_AVAILABLE else answer


def _percent(value: int) -> float | None:
    return float(value) if value <= MOST_PERCENT else None


def _shut_down(nvml: Any) -> None:
    # A driver that is gone, or was never there, has nothing to shut down.
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlShutdown()


def _driver_error(nvml: Any, error: Exception) -> DriverError:
    if isinstance(error, nvml.NVMLError_LibraryNotFound | nvml.NVMLError_DriverNotLoaded):
        return DriverMissingError("The NVIDIA driver is not loaded: load it (`sudo modprobe nvidia`), or install it.")
    if isinstance(error, nvml.NVMLError_LibRmVersionMismatch):
        return DriverError(
            "The NVIDIA driver's library and kernel module have different versions, as after an update: "
            "reload the driver or restart the machine."
        )
    if isinstance(error, nvml.NVMLError_NoPermission):
        return DriverError("This user may not use the NVIDIA driver: check the permissions of /dev/nvidia*.")
    return DriverError(
        f"The NVIDIA driver does not answer ({clean_line(str(error))}): restart the machine if `nvidia-smi` fails, too."
    )
