"""How far a start has come, in a few words: for a step's detail."""

from engine.fit.values import gib
from engine.startup import PhaseProgress


def told(progress: PhaseProgress) -> str:
    """E.g. `weights 5 of 9 shards`, `image pull 3.2 GiB of 9.8 GiB, 85 MiB a second, 4 of 9 layers`."""
    first = " ".join(part for part in (progress.phase.value, _amount(progress)) if part)
    rate = f"{gib(progress.rate)} a second" if progress.rate and progress.unit == "bytes" else ""
    return ", ".join(part for part in (first, rate, progress.detail) if part)


def _amount(progress: PhaseProgress) -> str:
    if not progress.done:
        return ""
    if progress.unit == "bytes":
        return f"{gib(progress.done)} of {gib(progress.total)}" if progress.total else gib(progress.done)
    total = f" of {progress.total:,.0f}" if progress.total else ""
    return f"{progress.done:,.0f}{total} {progress.unit}"
