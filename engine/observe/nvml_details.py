"""What the driver tells of a GPU beyond what is sampled every second, in two paces. All calls block."""

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.gpu_reading import GpuProcess, MigInstance
from engine.observe.nvml import MILLIWATTS, Answers, Nvml, running
from engine.observe.nvml_links import told
from engine.text import clean_line

HELD_BACK = {
    0x2: "set clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
    0x100: "display clocks",
}
"""nvmlClocksEventReason…; that it is idle is none"""
_ALL_LINKS = 0xFFFFFFFF
"""As the scope of a field: the sum over its NVLinks"""
_KIB = 1 << 10
_KB = 1000
"""nvmlDeviceGetPcieThroughput tells KB/s"""


@dataclass(frozen=True, slots=True)
class GpuState:
    """What changes within seconds; units as in `engine.gpu_reading.Gpu`."""

    clock: float | None = None
    throttled: tuple[str, ...] = ()
    processes: tuple[GpuProcess, ...] | None = None
    nvlink_received: int | None = None
    """Bytes since some moment in the past"""
    nvlink_sent: int | None = None
    at: float = 0.0
    """When the traffic was counted, on the monotonic clock"""
    problem: str = ""
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuDetails:
    """What seldom changes, and what takes long to ask; units as in `engine.gpu_reading.Gpu`."""

    power_limit: float | None = None
    clock_max: float | None = None
    memory_clock: float | None = None
    fan: float | None = None
    pcie_link: str = ""
    pcie_received: float | None = None
    pcie_sent: float | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    mig_mode: bool = False
    mig: tuple[MigInstance, ...] = ()
    problem: str = ""
    unsupported: tuple[str, ...] = ()


def read_states(driver: Nvml) -> dict[int, GpuState]:
    """By index, of every GPU that can be reached. Raises `DriverError`."""
    import pynvml

    return {index: _state(pynvml, index, handle, answers) for index, handle, answers in driver.reachable()}


def read_details(driver: Nvml) -> dict[int, GpuDetails]:
    """By index; 40 ms a GPU and more, in which PCIe traffic is measured. Raises `DriverError`."""
    import pynvml

    return {index: _details(pynvml, index, handle, answers) for index, handle, answers in driver.reachable()}


def held_back(nvml: Any, handle: Any, answers: Answers) -> tuple[str, ...]:
    """Why its clocks are lower than they could be, in words. Raises `DriverError`."""
    bits = answers.ask(
        "why it is held back",
        lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),  # drivers before 535
        fields=("throttled",),
    )
    return tuple(reason for bit, reason in HELD_BACK.items() if (bits or 0) & bit)


def _state(nvml: Any, index: int, handle: Any, answers: Answers) -> GpuState:
    clock = answers.ask("its clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM), fields=("clock",))
    throttled = held_back(nvml, handle, answers)
    received, sent = _nvlink(nvml, handle, answers)
    return GpuState(
        clock=None if clock is None else float(clock),
        throttled=throttled,
        processes=running(nvml, handle, answers),
        nvlink_received=received,
        nvlink_sent=sent,
        at=time.monotonic(),
        problem="" if answers.lost else answers.problem(index),
        unsupported=tuple(answers.unsupported),
    )


def _nvlink(nvml: Any, handle: Any, answers: Answers) -> tuple[int | None, int | None]:
    """Bytes received and sent, over all of its links."""
    fields = (nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX)
    values = answers.ask(
        "NVLink traffic",
        lambda: nvml.nvmlDeviceGetFieldValues(handle, [(one, _ALL_LINKS) for one in fields]),
        fields=(),
    )
    counted = [_counted(nvml, value) for value in values or ()]
    if len(counted) != 2 or None in counted:
        answers.unsupported += ("nvlink_received", "nvlink_sent")
        return None, None
    return counted[0], counted[1]


def _counted(nvml: Any, value: Any) -> int | None:
    if value.nvmlReturn != nvml.NVML_SUCCESS:
        return None
    kinds = {
        nvml.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
        nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
    }
    kind = kinds.get(value.valueType)
    return int(getattr(value.value, kind)) * _KIB if kind else None


def _details(nvml: Any, index: int, handle: Any, answers: Answers) -> GpuDetails:
    def number(field: str, what: str, call: Any, *arguments: Any, scale: float = 1.0) -> float | None:
        value = answers.ask(what, lambda: call(handle, *arguments), fields=(field,))
        return None if value is None else float(value * scale)

    mig = answers.ask("its MIG mode", lambda: nvml.nvmlDeviceGetMigMode(handle), fields=())
    corrected, uncorrected = _ecc(nvml, handle, answers)
    in_mig = bool(mig and mig[0])
    received, sent = nvml.NVML_PCIE_UTIL_RX_BYTES, nvml.NVML_PCIE_UTIL_TX_BYTES
    traffic = nvml.nvmlDeviceGetPcieThroughput
    limit = nvml.nvmlDeviceGetEnforcedPowerLimit
    return GpuDetails(
        power_limit=number("power_limit", "its power limit", limit, scale=MILLIWATTS),
        clock_max=number("clock_max", "its highest clock", nvml.nvmlDeviceGetMaxClockInfo, nvml.NVML_CLOCK_SM),
        memory_clock=number("memory_clock", "its memory's clock", nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_MEM),
        fan=number("fan", "its fan", nvml.nvmlDeviceGetFanSpeed),
        pcie_link=_pcie_link(nvml, handle, answers),
        pcie_received=number("pcie_received", "PCIe traffic", traffic, received, scale=_KB),
        pcie_sent=number("pcie_sent", "PCIe traffic", traffic, sent, scale=_KB),
        ecc_corrected=corrected,
        ecc_uncorrected=uncorrected,
        mig_mode=in_mig,
        mig=tuple(_mig(nvml, handle)) if in_mig else (),
        problem="" if answers.lost else answers.problem(index),
        unsupported=tuple(answers.unsupported),
    )


def _pcie_link(nvml: Any, handle: Any, answers: Answers) -> str:
    def link(generation: Any, width: Any, *fields: str) -> tuple[int, int] | None:
        numbers = [answers.ask("its PCIe link", partial(call, handle), fields=fields) for call in (generation, width)]
        return None if None in numbers else (int(numbers[0]), int(numbers[1]))

    now = link(nvml.nvmlDeviceGetCurrPcieLinkGeneration, nvml.nvmlDeviceGetCurrPcieLinkWidth, "pcie_link")
    most = link(nvml.nvmlDeviceGetMaxPcieLinkGeneration, nvml.nvmlDeviceGetMaxPcieLinkWidth)
    if now is None:
        return ""
    words = "gen {} ×{}".format(*now)
    return words if most is None or most == now else f"{words} of " + "gen {} ×{}".format(*most)


def _ecc(nvml: Any, handle: Any, answers: Answers) -> tuple[int | None, int | None]:
    """Errors since the driver was loaded; a GPU whose ECC is off counts none."""
    mode = answers.ask("ECC", lambda: nvml.nvmlDeviceGetEccMode(handle), fields=("ecc_corrected", "ecc_uncorrected"))
    if not mode or not mode[0]:
        return None, None
    types = (nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED)
    counts = [
        answers.ask(
            "ECC errors",
            partial(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, nvml.NVML_VOLATILE_ECC),
            fields=(field,),
        )
        for kind, field in zip(types, ("ecc_corrected", "ecc_uncorrected"), strict=True)
    ]
    return counts[0], counts[1]


def _mig(nvml: Any, handle: Any) -> list[MigInstance]:
    found = []
    for place in range(told(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        instance = told(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
        if instance is None:  # the places are not filled in a row
            continue
        uuid = told(nvml, nvml.nvmlDeviceGetUUID, instance)
        name = told(nvml, nvml.nvmlDeviceGetName, instance)
        memory = told(nvml, nvml.nvmlDeviceGetMemoryInfo, instance)
        found.append(
            MigInstance(
                clean_line(uuid or ""),
                clean_line(name or "").rpartition("MIG ")[2],
                None if memory is None else int(memory.used),
                None if memory is None else int(memory.total),
            )
        )
    return found
