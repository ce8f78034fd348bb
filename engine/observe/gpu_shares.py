"""Who has a GPU's memory, against what plans said; and what could be better about where a deployment runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.deployment import Deployment, Lifecycle
from engine.gpu_reading import Gpu, GpuProcess, MemoryShare, Topology

UNKNOWN = "unknown program"


class Figures(Protocol):
    """What a server's metrics tell of one GPU; units as in `engine.gpu_reading.Gpu`."""

    @property
    def uuid(self) -> str: ...
    @property
    def utilization(self) -> float | None: ...
    @property
    def memory_used(self) -> int | None: ...
    @property
    def memory_total(self) -> int | None: ...
    @property
    def power(self) -> float | None: ...
    @property
    def power_limit(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Around:
    """What the machine's GPUs are looked at for."""

    deployments: tuple[Deployment, ...] = ()
    """All that are there, those that were started by hand, too"""
    planned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Deployment -> UUID -> bytes that its plan says its engine may take"""
    tensor_parallel: Mapping[str, int] = field(default_factory=dict)
    """Deployment -> over how many GPUs each layer is spread; only those of more than one"""
    reported: Mapping[str, tuple[Figures, ...]] = field(default_factory=dict)
    """Deployment -> what its own metrics tell of the GPUs that it sees"""

    def running(self) -> Iterator[Deployment]:
        return (one for one in self.deployments if one.lifecycle is Lifecycle.RUNNING)

    def gpus_of(self, deployment: Deployment) -> tuple[str, ...]:
        """UUIDs: where it was placed, or else which its server says that it sees."""
        return deployment.gpus or tuple(one.uuid for one in self.reported.get(deployment.name, ()))


def shares(uuid: str, processes: tuple[GpuProcess, ...] | None, around: Around) -> tuple[MemoryShare, ...]:
    """Of one GPU, by its UUID and the processes that have its memory; None where they are not listed.

    Deployments first, then the largest first. One that is placed here and has no process listed is among them.
    """
    held: dict[tuple[str, bool], list[GpuProcess]] = {}
    for process in processes or ():
        owner = (process.deployment, True) if process.deployment else (process.name or UNKNOWN, False)
        held.setdefault(owner, []).append(process)
    for deployment in around.running():
        if uuid and uuid in around.gpus_of(deployment):
            held.setdefault((deployment.name, True), [])
    found = [
        MemoryShare(
            owner,
            _sum(mine) if processes is not None else None,
            is_deployment,
            around.planned.get(owner, {}).get(uuid) if is_deployment else None,
            len(mine),
        )
        for (owner, is_deployment), mine in held.items()
    ]
    return tuple(sorted(found, key=lambda share: (not share.deployment, -(share.used or 0), share.owner)))


def _sum(processes: Sequence[GpuProcess]) -> int | None:
    told = [process.used for process in processes if process.used is not None]
    return sum(told) if len(told) == len(processes) else None


def hints(gpus: Sequence[Gpu], topology: Topology | None, around: Around) -> Iterator[str]:
    """Of tensor-parallel deployments whose GPUs exchange what they compute over PCIe, for each layer of each token."""
    if topology is None or not any(link.nvlinks or link.path for link in topology.links):
        return
    indices = {gpu.uuid: gpu.index for gpu in gpus if gpu.uuid}
    for deployment in around.running():
        size = around.tensor_parallel.get(deployment.name, 1)
        ranks = [indices[uuid] for uuid in around.gpus_of(deployment) if uuid in indices]
        for group in (ranks[first : first + size] for first in range(0, len(ranks), size)):
            slow = [pair for pair in _pairs(group) if (link := topology.between(*pair)) and not link.nvlinks]
            if slow:
                yield _hint(deployment.name, group, slow, topology, [gpu.index for gpu in gpus])


def _hint(
    name: str, group: Sequence[int], slow: Sequence[tuple[int, int]], topology: Topology, every: Sequence[int]
) -> str:
    paths = sorted({link.path for pair in slow if (link := topology.between(*pair)) and link.path})
    over = f" ({', '.join(paths)})" if paths else ""
    where = (
        "share no NVLink" if len(slow) == len(list(_pairs(group))) else f"do not all share NVLink ({_pair_words(slow)})"
    )
    better = _joined(len(group), topology, every)
    remedy = (
        f"Name GPUs {_words(better)}, which do, under `gpus` in its profile."
        if better
        else "`pipeline_parallel_size` in place of `tensor_parallel_size` sends less between them."
    )
    return (
        f"{name} computes each layer on GPUs {_words(group)} together, and they {where}: what they exchange goes over"
        f" PCIe{over}. {remedy}"
    )


def _joined(size: int, topology: Topology, every: Sequence[int]) -> tuple[int, ...]:
    """The first GPUs, as many as wanted, that all have NVLink to each other; none when there are none."""
    for first in every:
        group = [first]
        for other in every:
            if other != first and all((link := topology.between(other, one)) and link.nvlinks for one in group):
                group.append(other)
        if len(group) >= size:
            return tuple(sorted(group[:size]))
    return ()


def _pairs(group: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((a, b) for place, a in enumerate(group) for b in group[place + 1 :])


def _pair_words(pairs: Iterable[tuple[int, int]]) -> str:
    return "not " + ", ".join(f"{a}–{b}" for a, b in pairs)


def _words(group: Sequence[int]) -> str:
    return ", ".join(map(str, group[:-1])) + f" and {group[-1]}" if len(group) > 1 else str(group[0])
