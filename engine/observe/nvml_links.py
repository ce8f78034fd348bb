"""How GPUs are joined, as the driver tells it: NVLink, PCIe, and the NUMA node that each is at."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.gpu_reading import GpuLink, Topology
from engine.observe.nvml import Nvml

_MOST_LINKS = 36
_P2P_READ = 0
"""NVML_P2P_CAPS_INDEX_READ, which pynvml has as a tuple by mistake"""
_SWITCH = 2
"""NVML_NVLINK_DEVICE_TYPE_SWITCH"""
_PATHS = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""nvmlGpuTopologyLevel_t; those on one board share its switch"""
_NUMA_WORDS = 4
"""Of 64 nodes each"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two GPUs; None where the driver does not tell."""

    level: int | None
    """Their common ancestor over PCIe (nvmlGpuTopologyLevel_t)"""
    nvlink: bool
    reads: bool | None
    """Whether one may read the other's memory directly"""


def told(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    """None for what the driver or this kind of GPU does not tell."""
    try:
        return call(*arguments)
    except (nvml.NVMLError, UnicodeDecodeError):
        return None


def pairs(nvml: Any, handles: Mapping[int, Any]) -> Iterator[tuple[tuple[int, int], Pair]]:
    """Of every two indices, the lower first."""
    for one, other in ((a, b) for a in handles for b in handles if a < b):
        two = (handles[one], handles[other])
        level = told(nvml, nvml.nvmlDeviceGetTopologyCommonAncestor, *two)
        nvlink = told(nvml, nvml.nvmlDeviceGetP2PStatus, *two, nvml.NVML_P2P_CAPS_INDEX_NVLINK)
        reads = told(nvml, nvml.nvmlDeviceGetP2PStatus, *two, _P2P_READ)
        ok = nvml.NVML_P2P_STATUS_OK
        yield (one, other), Pair(level, nvlink == ok, None if reads is None else reads == ok)


def links_up(nvml: Any, handle: Any) -> tuple[bool, ...]:
    """A GPU's NVLinks: whether each is up."""
    found = []
    for link in range(_MOST_LINKS):
        state = told(nvml, nvml.nvmlDeviceGetNvLinkState, handle, link)
        if state is None:
            break
        found.append(bool(state))
    return tuple(found)


def read_topology(driver: Nvml) -> Topology | None:
    """None with fewer than two GPUs. Blocks, with 16 GPUs for some hundred calls. Raises `DriverError`."""
    import pynvml

    handles = {index: handle for index, handle, _ in driver.reachable()}
    if len(handles) < 2:
        return None
    buses = {index: _bus(pynvml, handle) for index, handle in handles.items()}
    ends = {index: _ends(pynvml, handle) for index, handle in handles.items()}
    links = []
    for (one, other), pair in pairs(pynvml, handles):
        joined = 0
        if pair.nvlink:
            direct = sum(end == buses[other] for end in ends[one] if end)
            # Through switches any link leads to any GPU.
            joined = direct or min(ends[one].count(""), ends[other].count("")) or 1
        links.append(GpuLink(one, other, joined, _PATHS.get(-1 if pair.level is None else pair.level, "")))
    numa = tuple(
        _numa(pynvml, handles[index], buses[index]) if index in handles else None for index in range(max(handles) + 1)
    )
    return Topology(tuple(links), numa)


def _ends(nvml: Any, handle: Any) -> list[str]:
    """Where its NVLinks that are up lead: the other's PCI address, or nothing for a switch."""
    found = []
    for link, up in enumerate(links_up(nvml, handle)):
        if up:
            switch = told(nvml, nvml.nvmlDeviceGetNvLinkRemoteDeviceType, handle, link) == _SWITCH
            remote = None if switch else told(nvml, nvml.nvmlDeviceGetNvLinkRemotePciInfo, handle, link)
            found.append("" if remote is None else _address(remote))
    return found


def _bus(nvml: Any, handle: Any) -> str:
    info = told(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    return "?" if info is None else _address(info)


def _address(info: Any) -> str:
    return f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"


def _numa(nvml: Any, handle: Any, bus: str) -> int | None:
    mask = told(nvml, nvml.nvmlDeviceGetMemoryAffinity, handle, _NUMA_WORDS, nvml.NVML_AFFINITY_SCOPE_NODE)
    if mask is not None:
        nodes = [64 * word + bit for word, bits in enumerate(mask) for bit in range(64) if bits >> bit & 1]
        if len(nodes) == 1:
            return nodes[0]
    with suppress(OSError, ValueError):
        node = int(Path(f"/sys/bus/pci/devices/{bus}/numa_node").read_text(encoding="ascii"))
        return node if node >= 0 else None
    return None
