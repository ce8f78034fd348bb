"""The GPUs beyond what is sampled every second: errors, limits, modes, and how they are joined."""

from collections.abc import Callable, Mapping
from ctypes import byref
from dataclasses import dataclass, field
from typing import Any

from engine.observe.nvml import Nvml, Readout
from engine.observe.nvml_details import HELD_BACK
from engine.observe.nvml_links import links_up, pairs, told
from engine.text import clean_line

NVLINK = "NVLink"
_LEVELS = {0: "one board", 10: "one PCIe switch", 20: "PCIe switches", 30: "the PCIe root of one CPU", 40: "one CPU"}
OTHER_CPU = "the link between CPUs"
_FABRIC = {0: "", 1: "not started", 2: "in progress", 3: "completed"}
_SET = ("set clocks", "sync boost", "display clocks")
"""What holds a GPU back because somebody wants it so"""
_COMPUTE = {1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU; None and empty where the driver does not say."""

    readout: Readout
    capability: tuple[int, int] | None = None
    """CUDA's compute capability"""
    ecc: bool | None = None
    uncorrected: int | None = None
    """ECC errors that were not corrected, since the driver was loaded"""
    repair_pending: bool = False
    """Pages or rows of memory are taken out of use at the next reset"""
    repair_failed: bool = False
    repaired: int = 0
    """Rows or pages taken out of use in its life"""
    held_back: tuple[str, ...] = ()
    """What keeps its clocks down now"""
    slowdown_at: float | None = None
    """°C"""
    default_limit: float | None = None
    """Watts"""
    persistent: bool | None = None
    mig: bool | None = None
    compute: str = ""
    """Who may use it, when it is not everybody: `exclusive process`"""
    links: tuple[bool, ...] = ()
    """Its NVLinks: whether each is up"""
    fabric: str = ""
    """With NVSwitches: how far its registration with them has come; empty without"""

    @property
    def index(self) -> int:
        return self.readout.index


@dataclass(frozen=True, slots=True)
class Driver:
    version: str
    cuda: tuple[int, ...] = ()
    """The newest that it supports"""
    devices: tuple[Device, ...] = ()
    paths: Mapping[tuple[int, int], str] = field(default_factory=dict)
    """Two indices -> what joins them; only where the driver tells"""
    blocked: frozenset[tuple[int, int]] = frozenset()
    """Pairs that may not read each other's memory directly"""


def read_driver() -> Driver:
    """Blocks, with many GPUs at rest for seconds. Raises `DriverError`."""
    import pynvml

    nvml = Nvml()
    try:
        readouts = nvml.read()
        handles = {one.index: told(pynvml, pynvml.nvmlDeviceGetHandleByIndex, one.index) for one in readouts}
        cuda = told(pynvml, pynvml.nvmlSystemGetCudaDriverVersion_v2)
        there = {index: handle for index, handle in handles.items() if handle is not None}
        paths, blocked = _paths(pynvml, there)
        return Driver(
            clean_line(nvml.driver),
            (cuda // 1000, cuda % 1000 // 10) if cuda else (),
            tuple(_device(pynvml, one, handles[one.index]) for one in readouts),
            paths,
            blocked,
        )
    finally:
        nvml.close()


def _device(nvml: Any, readout: Readout, handle: Any) -> Device:
    if handle is None or readout.lost:
        return Device(readout)

    def ask(call: Callable[..., Any], *arguments: Any) -> Any:
        return told(nvml, call, handle, *arguments)

    ecc, mig, limit = (
        ask(nvml.nvmlDeviceGetEccMode),
        ask(nvml.nvmlDeviceGetMigMode),
        ask(nvml.nvmlDeviceGetPowerManagementDefaultLimit),
    )
    rows = ask(nvml.nvmlDeviceGetRemappedRows)  # corrected, uncorrected, pending, failed: Ampere and later
    persistence = ask(nvml.nvmlDeviceGetPersistenceMode)
    return Device(
        readout,
        ask(nvml.nvmlDeviceGetCudaComputeCapability),
        bool(ecc[0]) if ecc else None,
        ask(nvml.nvmlDeviceGetTotalEccErrors, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC)
        if ecc and ecc[0]
        else None,
        bool(rows[2] if rows else ask(nvml.nvmlDeviceGetRetiredPagesPendingStatus)),
        bool(rows and rows[3]),
        rows[0] + rows[1] if rows else _retired(nvml, ask),
        _reasons(nvml, ask),
        ask(nvml.nvmlDeviceGetTemperatureThreshold, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        limit / 1000 if limit else None,
        None if persistence is None else bool(persistence),
        bool(mig[0]) if mig else None,
        _COMPUTE.get(ask(nvml.nvmlDeviceGetComputeMode), ""),
        links_up(nvml, handle),
        _fabric(nvml, handle),
    )


def _retired(nvml: Any, ask: Callable[..., Any]) -> int:
    causes = (
        nvml.NVML_PAGE_RETIREMENT_CAUSE_MULTIPLE_SINGLE_BIT_ECC_ERRORS,
        nvml.NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR,
    )
    return sum(len(ask(nvml.nvmlDeviceGetRetiredPages, cause) or ()) for cause in causes)


def _reasons(nvml: Any, ask: Callable[..., Any]) -> tuple[str, ...]:
    bits = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons)
    if bits is None:  # drivers before 535
        bits = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    return tuple(reason for bit, reason in HELD_BACK.items() if (bits or 0) & bit and reason not in _SET)


def _fabric(nvml: Any, handle: Any) -> str:
    info = nvml.c_nvmlGpuFabricInfo_t()
    state = told(nvml, nvml.nvmlDeviceGetGpuFabricInfo, handle, byref(info))
    return "" if state is None else _FABRIC.get(int(info.state), "")


def _paths(nvml: Any, handles: Mapping[int, Any]) -> tuple[dict[tuple[int, int], str], frozenset[tuple[int, int]]]:
    paths: dict[tuple[int, int], str] = {}
    blocked: set[tuple[int, int]] = set()
    for two, pair in pairs(nvml, handles):
        if pair.nvlink:
            paths[two] = NVLINK
        elif pair.level is not None:
            paths[two] = _LEVELS.get(pair.level, OTHER_CPU)
        if pair.reads is False:
            blocked.add(two)
    return paths, frozenset(blocked)
