"""What is to be said of a GPU, whoever shows it: whose it is, what is wrong with it, where its memory is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from engine.deployment import Lifecycle
from tui.widgets.glyphs import UNKNOWN

if TYPE_CHECKING:  # the first paint needs none of them
    from collections.abc import Sequence

    from engine.gpu_reading import Gpu, MemoryShare
    from engine.snapshot import Model

HOT_CELSIUS = 85
IDLE_SHARE = 0.02
"""Of its memory: less is the driver's own, and the GPU counts as free"""
HARMLESS = ("power cap", "set clocks", "sync boost", "display clocks")
"""Reasons to run slower that are usual under load, or wanted"""
TOO_HOT = "too hot"
FREE = "free"
NEVER = "n/a"
UNCLAIMED = "no process seen"
"""Used, and claimed by no process that the driver lists"""


@dataclass(frozen=True, slots=True)
class MemorySplit:
    """All of a GPU's memory, in bytes."""

    deployments: int
    others: int
    """Programs that are no deployments"""
    unclaimed: int
    """Used, and no process that can be seen has it"""
    reserved: int
    free: int


def memory_split(gpu: Gpu) -> MemorySplit | None:
    """None while it is not known how much is used. A process whose memory the driver does not tell has the rest."""
    if gpu.memory_used is None or not gpu.memory_total:
        return None
    used = min(gpu.memory_used, gpu.memory_total)
    others = min(used, sum(share.used or 0 for share in gpu.shares if not share.deployment))
    deployments = min(used - others, sum(share.used or 0 for share in gpu.shares if share.deployment))
    unclaimed = used - others - deployments
    if any(share.used is None and share.deployment for share in gpu.shares):
        deployments, unclaimed = deployments + unclaimed, 0
    elif any(share.used is None for share in gpu.shares):
        others, unclaimed = others + unclaimed, 0
    reserved = min(gpu.memory_reserved or 0, gpu.memory_total - used)
    return MemorySplit(deployments, others, unclaimed, reserved, gpu.memory_total - used - reserved)


def owner(share: MemoryShare) -> str:
    return share.owner if share.deployment else f"other ({share.owner})"


def users(gpu: Gpu) -> tuple[str, ...]:
    """Who has its memory, and whether it is parted; nobody where that cannot be told."""
    mig = (f"MIG × {len(gpu.mig)}",) if gpu.mig else ()
    if gpu.shares or mig:
        return (*mig, *(owner(share) for share in gpu.shares))
    if gpu.memory_used is not None and gpu.memory_total and gpu.memory_used < gpu.memory_total * IDLE_SHARE:
        return (FREE,)
    return (UNCLAIMED,) if gpu.processes is not None and gpu.memory_used is not None else ()


def in_short(names: tuple[str, ...], room: int) -> str:
    """As many of the names as there is room for, and how many more there are."""
    for count in range(len(names), 0, -1):
        more = f" +{len(names) - count}" if count < len(names) else ""
        for text in (f"{', '.join(names[:count])}{more}", names[0]):
            if cell_len(text) <= room:
                return text
    return ", ".join(names)


def load(gpu: Gpu) -> str:
    """In six cells; one that is parted has none."""
    text = "MIG" if gpu.mig and gpu.utilization is None else figure(gpu, "utilization")
    return f"{text:>4} {' ' if text in ('MIG', NEVER) else '%'}"


def error(gpu: Gpu) -> str:
    """What failed, beside its number."""
    return gpu.error.removeprefix(f"GPU {gpu.index} ")


def is_lost(gpu: Gpu) -> bool:
    """Nothing can be read of it."""
    return bool(gpu.error) and gpu.utilization is None and gpu.memory_used is None


def trouble(gpu: Gpu) -> str:
    """The gravest thing that is wrong with it, in a word or two; empty when nothing is."""
    if is_lost(gpu):
        return "lost" if "lost" in gpu.error else "no reading"
    return next(iter(grave(gpu)), "reading failed" if gpu.error else "")


def grave(gpu: Gpu) -> tuple[str, ...]:
    """What is wrong with one that can be read, in a word or two each, the gravest first."""
    slowed = [reason for reason in gpu.throttled if reason not in HARMLESS]
    return (*slowed, *([TOO_HOT] if is_hot(gpu) else []), *([memory_errors(gpu)] if gpu.ecc_uncorrected else []))


def wrong(gpus: Sequence[Gpu]) -> list[str]:
    """All that is wrong with them, in sentences, with what to do: of the same GPUs whose `trouble` is shown."""
    told = [gpu.error for gpu in gpus if gpu.error]
    slowed = [gpu for gpu in gpus if not set(HARMLESS).issuperset(gpu.throttled)]
    told += [f"{sentence} Check its cooling and its power supply." for sentence in held_back(slowed)]
    if hot := [f"{gpu.index} ({gpu.temperature:.0f} °C)" for gpu in gpus if is_hot(gpu)]:
        told.append(
            f"Too hot, at {HOT_CELSIUS} °C or more: GPU {', '.join(hot)}. Check fans and air, or lower the power limit "
            "with `nvidia-smi -pl`."
        )
    if broken := [f"{gpu.index} ({gpu.ecc_uncorrected})" for gpu in gpus if gpu.ecc_uncorrected]:
        told.append(
            f"Memory errors that were not corrected: GPU {', '.join(broken)}. Reset it, and have it replaced when they "
            "come again; `nvidia-smi -q -d ECC` tells more."
        )
    return told


def held_back(gpus: Sequence[Gpu]) -> list[str]:
    """Why they run slower than they could, in sentences; those of one reason together."""
    found: dict[tuple[str, ...], list[str]] = {}
    for gpu in gpus:
        if gpu.throttled:
            found.setdefault(gpu.throttled, []).append(str(gpu.index))
    return [f"GPU {', '.join(those)} held back: {', '.join(why)}." for why, those in found.items()]


def memory_errors(gpu: Gpu) -> str:
    """Those that were not corrected; empty when there are none."""
    count = gpu.ecc_uncorrected
    return f"{count} ECC error{'' if count == 1 else 's'}" if count else ""


def is_hot(gpu: Gpu) -> bool:
    return gpu.temperature is not None and gpu.temperature >= HOT_CELSIUS


def of_model(gpu: Gpu, model: Model | None) -> bool:
    """Whether the model runs on it."""
    deployment = model.deployment if model else None
    if model is None or deployment is None or deployment.lifecycle is not Lifecycle.RUNNING:
        return False
    uuids = {gpu.uuid, *(instance.uuid for instance in gpu.mig)}
    return not uuids.isdisjoint(deployment.gpus) or any(
        share.deployment and share.owner == model.name for share in gpu.shares
    )


def kind(gpu: Gpu) -> str:
    """Its name, as far as it tells one GPU from another."""
    return gpu.name.removeprefix("NVIDIA ")


def source(gpus: tuple[Gpu, ...]) -> str:
    """Whose figures these are, when they are not the driver's."""
    sources = {gpu.source for gpu in gpus}
    return sources.pop() if len(sources) == 1 else "metrics, where marked"


def figure(gpu: Gpu, field: str, decimals: int = 0) -> str:
    """A number of it without the unit: a dash where it is not known, and `n/a` where such a GPU never tells it."""
    value = getattr(gpu, field)
    if value is None:
        return NEVER if field in gpu.unsupported else UNKNOWN
    return f"{value:.{decimals}f}"
