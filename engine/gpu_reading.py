"""What the driver, or a server's metrics, say of the machine's GPUs at one moment; and of the machine itself."""

from dataclasses import dataclass

from engine.freshness import Freshness


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that has memory of a GPU."""

    pid: int
    used: int | None
    """Bytes; None where the driver does not say, as for virtual GPUs"""
    name: str = ""
    deployment: str = ""
    """Whose it is, as far as known; of a container that was started by hand `docker/` and its name"""


@dataclass(frozen=True, slots=True)
class MemoryShare:
    """What one deployment, or one program that is none, has of a GPU's memory; bytes."""

    owner: str
    used: int | None
    """None where the driver does not say"""
    deployment: bool
    planned: int | None = None
    """What its plan estimated for this GPU"""
    processes: int = 1


@dataclass(frozen=True, slots=True)
class MigInstance:
    """A part of a GPU in MIG mode, which is used like a GPU of its own; memory in bytes."""

    uuid: str
    profile: str
    """E.g. 1g.10gb"""
    memory_used: int | None
    memory_total: int | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; None where nobody says. Memory in bytes, power in watts, temperature in °C, load and fan in %,
    clocks in MHz, traffic in bytes a second."""

    index: int
    uuid: str
    name: str
    utilization: float | None
    memory_used: int | None
    memory_total: int | None
    temperature: float | None
    power: float | None
    power_limit: float | None
    error: str = ""
    """Why readings are missing that others have (a lost GPU, a call that failed)"""
    history: tuple[float | None, ...] = ()
    """Utilization in %, oldest first, one value per sample; None is a gap"""
    memory_reserved: int | None = None
    """By the driver for itself; not in `memory_used`"""
    memory_busy: float | None = None
    """Share of time in which its memory was read or written"""
    clock: float | None = None
    clock_max: float | None = None
    memory_clock: float | None = None
    throttled: tuple[str, ...] = ()
    """Why it runs slower than it could, in words, e.g. `power cap`, `too hot`; idle is no reason"""
    fan: float | None = None
    pcie_link: str = ""
    """E.g. `gen 4 ×16`, with what it could be when that is more: `gen 1 ×16 of gen 4 ×16`"""
    pcie_received: float | None = None
    pcie_sent: float | None = None
    nvlink_received: float | None = None
    nvlink_sent: float | None = None
    ecc_corrected: int | None = None
    """Since the driver was loaded"""
    ecc_uncorrected: int | None = None
    mig: tuple[MigInstance, ...] = ()
    processes: tuple[GpuProcess, ...] | None = None
    """None where they are not listed"""
    shares: tuple[MemoryShare, ...] = ()
    """Who has its memory: deployments first, then the largest first"""
    unsupported: tuple[str, ...] = ()
    """Names of fields that this GPU does not report, as it is with its kind; no error"""
    source: str = ""
    """Whose figures these are when they are not the driver's, e.g. `metrics of smollm2`"""


@dataclass(frozen=True, slots=True)
class GpuLink:
    """How two GPUs reach each other, by their indices."""

    first: int
    second: int
    nvlinks: int
    """How many join them, directly or through a switch"""
    path: str
    """Over PCIe, as nvidia-smi writes it: PIX, PXB, PHB, NODE, SYS; empty when not known"""


@dataclass(frozen=True, slots=True)
class Topology:
    links: tuple[GpuLink, ...]
    """Of every pair, the lower index first"""
    numa: tuple[int | None, ...]
    """The NUMA node of each GPU, by index"""

    def between(self, first: int, second: int) -> GpuLink | None:
        pair = (min(first, second), max(first, second))
        return next((link for link in self.links if (link.first, link.second) == pair), None)


@dataclass(frozen=True, slots=True)
class HostLoad:
    """The machine's CPU (% of all cores) and memory (bytes)."""

    cpu: float
    cores: int
    memory_used: int
    memory_total: int
    load_1m: float
    history: tuple[float, ...] = ()
    """CPU in %, oldest first"""


@dataclass(frozen=True, slots=True)
class GpuReading:
    at: float
    freshness: Freshness
    gpus: tuple[Gpu, ...] = ()
    message: str = ""
    """Why there are no GPUs, or why the reading is stale"""
    driver: str = ""
    host: HostLoad | None = None
    topology: Topology | None = None
    """None with one GPU, and while it is not known"""
    hints: tuple[str, ...] = ()
    """What could be better, a sentence each, e.g. of a tensor-parallel deployment whose GPUs share no NVLink"""
