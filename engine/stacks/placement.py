"""Which GPUs a deployment gets: stated by UUID, and apart from what runs beside it unless sharing is asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.errors import InvalidProfile
from engine.gpu_reading import Gpu
from engine.plan import PlacedGpu

if TYPE_CHECKING:
    from engine.profile import Profile

ALL = -1


@dataclass(frozen=True, slots=True)
class Credit:
    """What counts as gone in a plan: the outgoing of a swap."""

    deployments: frozenset[str] = frozenset()
    """Their names: the GPUs and ports that they hold are free"""
    memory: Mapping[str, int] = field(default_factory=dict)
    """UUID -> bytes that their processes hold"""
    keep_ports: bool = False
    """What sleeps goes on listening"""


NO_CREDIT = Credit()


@dataclass(frozen=True, slots=True)
class Machine:
    """What a plan knows of the machine that it is for."""

    gpus: tuple[Gpu, ...] = ()
    """Empty when there are none, or no driver tells"""
    holders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """UUID -> deployments that run on it"""
    kept: tuple[str, ...] = ()
    """UUIDs that the deployment itself had last: had again when they are free, so that its container can be kept"""
    image_env: Callable[[str], Mapping[str, str]] = lambda _: {}
    """The variables that an image sets; nothing when it is not on this machine"""
    claimed_ports: frozenset[int] = frozenset()
    """Where nobody listens yet, and somebody soon will"""
    credit: Credit = NO_CREDIT
    own_ports: Mapping[str, int] = field(default_factory=dict)
    """Where the deployment itself answers, or did, by purpose: automatic ones stay what they are"""
    own_runs: bool = False
    """It has those ports now"""
    freed_ports: frozenset[int] = frozenset()
    """Where what is credited listens, which is gone when the plan is carried out"""


@dataclass(frozen=True, slots=True)
class Placement:
    gpus: int | tuple[str, ...]
    """As `Launch.gpus`"""
    placed: tuple[PlacedGpu, ...] = ()
    obstacles: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many GPUs it gets; 0 when it is to get all and nobody knows how many there are."""
        return len(self.gpus) if isinstance(self.gpus, tuple) else max(0, self.gpus)


def place(profile: "Profile", machine: Machine) -> Placement:
    """Raises `InvalidProfile` when the machine has no such GPU, or fewer than are wanted."""
    wanted = profile.gpus
    if wanted in (0, []):
        return Placement(0)
    if not machine.gpus:
        return Placement(
            ALL if wanted == "all" else tuple(map(str, wanted)) if isinstance(wanted, list) else int(wanted)
        )
    gone = {profile.name, *machine.credit.deployments}
    others = {uuid: tuple(name for name in names if name not in gone) for uuid, names in machine.holders.items()}
    if isinstance(wanted, list):
        chosen = [_named(str(one), machine.gpus) for one in wanted]
        if len({gpu.uuid for gpu in chosen}) < len(chosen):
            raise InvalidProfile("`gpus` names one GPU twice.", "Name each once.")
    elif wanted == "all":
        chosen = list(machine.gpus)
    else:
        if int(wanted) > len(machine.gpus):
            raise InvalidProfile(
                f"{profile.name} wants {wanted} GPUs, and this machine has {len(machine.gpus)}.",
                "Lower `gpus`, and the tensor parallel size with it.",
            )
        by_ease = sorted(machine.gpus, key=lambda gpu: _ease(gpu, profile.name, others, machine))
        chosen = sorted(by_ease[: int(wanted)], key=lambda gpu: gpu.index)
    placed = tuple(
        PlacedGpu(
            gpu.index,
            gpu.uuid,
            gpu.name,
            gpu.memory_total,
            _stays_used(gpu, profile.name, machine),
            used_by=others.get(gpu.uuid, ()),
        )
        for gpu in chosen
    )
    obstacles = () if profile.share_gpus else tuple(_taken(placed))
    return Placement(tuple(gpu.uuid for gpu in placed), placed, obstacles)


def _stays_used(gpu: Gpu, own: str, machine: Machine) -> int | None:
    """Bytes in use when it is started; None when nobody says how many of those in use now are its own, or credited."""
    holders, credit = machine.holders.get(gpu.uuid, ()), machine.credit
    freed = credit.memory.get(gpu.uuid, 0 if credit.deployments.isdisjoint(holders) else None)
    if own in holders or freed is None or gpu.memory_used is None:
        return None
    return max(0, gpu.memory_used - freed)


def _ease(
    gpu: Gpu, own: str, others: Mapping[str, tuple[str, ...]], machine: Machine
) -> tuple[bool, bool, bool, bool, int, int]:
    """Least first: free, readable (a lost GPU is not), had before, of what it takes the place of, emptiest."""
    return (
        bool(others.get(gpu.uuid)),
        gpu.memory_total is None,
        gpu.uuid not in machine.kept,
        machine.credit.deployments.isdisjoint(machine.holders.get(gpu.uuid, ())),
        _stays_used(gpu, own, machine) or 0,
        gpu.index,
    )


def _named(name: str, gpus: tuple[Gpu, ...]) -> Gpu:
    """By index, UUID, or the beginning of one, as the driver's own tools take it."""
    if name.startswith("MIG-"):
        return Gpu(-1, name, "MIG instance", None, None, None, None, None, None)
    found = [gpu for gpu in gpus if name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name))]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in found or gpus)
    if found:
        raise InvalidProfile(f"The GPU `{name}` of the profile may be any of {there}.", "Write more of its UUID.")
    raise InvalidProfile(f"This machine has no GPU `{name}`.", f"It has {there}.")


def _taken(placed: tuple[PlacedGpu, ...]) -> list[str]:
    by_holder: dict[tuple[str, ...], list[int]] = {}
    for gpu in placed:
        if gpu.used_by:
            by_holder.setdefault(gpu.used_by, []).append(gpu.index)
    return [
        f"GPU {', '.join(map(str, indices))} {'is' if len(indices) == 1 else 'are'} used by {' and '.join(names)}:"
        f" stop {'it' if len(names) == 1 else 'them'}, or set `share_gpus: true`."
        for names, indices in by_holder.items()
    ]
