"""Waits until the memory of the GPUs that a deployment is to get is free and steady.

A driver gives memory back after the process that had it has ended, late and in pieces. What is started before that
refuses to start, or measures free memory that changes under it.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from engine.errors import OperationFailed
from engine.fit.values import GIB, gib
from engine.freshness import Freshness
from engine.gpu_reading import Gpu, GpuReading
from engine.observe.gpu_processes import held, named
from engine.observe.nvml import GpuUse
from engine.operations.waiting import Waiting
from engine.plan import PlacedGpu, Plan
from engine.request import Way

LIMIT_S = 60.0
EVERY_S = 0.25
SAMPLES = 3
STEADY_BYTES = 64 << 20
"""What other programs take and give back all the time"""


def wait_for_memory(
    plan: Plan,
    sample: Callable[[], GpuReading | None],
    processes: Callable[[], tuple[GpuUse, ...]],
    waiting: Waiting,
    limit_s: float = LIMIT_S,
    *,
    way: Way = Way.FULL,
) -> str:
    """Returns what to tell the operator; that it cannot be told, when the driver does not say.

    Until each placed GPU has what the plan needs free, where that is known, and what is used has changed by less than
    64 MiB over three samples. `sample` and `processes` must come back within a few seconds, also from a driver that
    hangs. Raises `OperationFailed` when memory is missing after `limit_s`, with who holds it, or when a GPU is lost.
    """
    # The driver tells of a MIG instance's memory only to its own processes.
    placed = [gpu for gpu in plan.placement if gpu.index >= 0]
    if not placed:
        return "no GPU to wait for"
    began = time.monotonic()
    own = _own(plan, processes()) if way is Way.SLEEP else {}
    watched = [_Watched(gpu, plan.needs_bytes.get(gpu.uuid), own.get(gpu.uuid, 0)) for gpu in placed]
    due = time.monotonic()
    while True:
        reading = sample()
        if reading is None:
            return "cannot be told: the NVIDIA driver does not answer"
        if reading.freshness is not Freshness.FRESH:
            why = "no GPU is known on this machine" if reading.freshness is Freshness.NONE else reading.message
            return f"cannot be told: {why.rstrip('.')}"
        for one in watched:
            one.take(reading)
        if lost := [one.lost for one in watched if one.lost]:
            raise OperationFailed(" ".join(lost), f"{plan.launch.name} was to get it.")
        if all(one.settled for one in watched):
            return _told(watched, time.monotonic() - began)
        waiting.detail("; ".join(one.progress for one in watched if not one.settled))
        if time.monotonic() - began >= limit_s:
            break
        due = max(due + EVERY_S, time.monotonic())
        waiting.pause(due - time.monotonic())
    lacking = [one for one in watched if one.lacks > 0]
    if not lacking:
        return f"{_told(watched, time.monotonic() - began)}; what is used still changes"
    uses = {use.uuid: use for use in processes()}
    raise OperationFailed(
        " ".join(one.missing(plan.launch.name, limit_s, uses.get(one.gpu.uuid)) for one in lacking),
        _remedy(plan.launch.name, way),
    )


@dataclass(slots=True)
class _Watched:
    """One GPU, and its last samples."""

    gpu: PlacedGpu
    need: int | None
    own: int
    """Bytes that the deployment has already, and keeps"""
    past: deque[Gpu | None] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    def take(self, reading: GpuReading) -> None:
        self.past.append(next((gpu for gpu in reading.gpus if gpu.uuid == self.gpu.uuid), None))

    @property
    def used(self) -> list[int]:
        return [gpu.memory_used for gpu in self.past if gpu and gpu.memory_used is not None]

    @property
    def free(self) -> int | None:
        """At last; None when it was not told."""
        last = self.past[-1] if self.past else None
        if last is None or last.memory_used is None or last.memory_total is None:
            return None
        return last.memory_total - last.memory_used

    @property
    def lacks(self) -> int:
        """Bytes; none when it is not known."""
        if self.need is None or self.free is None:
            return 0
        return max(0, self.need - self.own - self.free)

    @property
    def settled(self) -> bool:
        if len(self.past) < SAMPLES:
            return False
        used = self.used
        if not used:
            return True  # there is no use in waiting for what is never told
        return len(used) == SAMPLES and max(used) - min(used) <= STEADY_BYTES and not self.lacks

    @property
    def lost(self) -> str:
        """What is wrong with it, when nothing at all could be read of it for several samples."""
        if len(self.past) < SAMPLES or any(map(_answers, self.past)):
            return ""
        last = self.past[-1]
        return last.error if last and last.error else f"GPU {self.gpu.index} does not answer its driver any more."

    @property
    def progress(self) -> str:
        if self.free is None:
            return f"GPU {self.gpu.index}: not told"
        if self.lacks:
            return f"GPU {self.gpu.index}: {self.free / GIB:.1f} of {gib((self.need or 0) - self.own)} free"
        return f"GPU {self.gpu.index}: {gib(self.free)} free, not steady yet"

    def missing(self, name: str, limit_s: float, use: GpuUse | None) -> str:
        """Sentences on what it lacks, and who has it."""
        what = (
            f"GPU {self.gpu.index} has {gib(self.free or 0)} free after {limit_s:g} s, and {name} needs"
            f" {gib((self.need or 0) - self.own)}: {gib(self.lacks)} are missing."
        )
        others = [process for process in (use.processes or () if use else ()) if process.deployment != name]
        if others:
            return f"{what} Its memory is held by {named(others)}."
        if use and use.processes is not None:
            return f"{what} The driver lists no other process that holds it: it has not been given back."
        return f"{what} The driver does not say who holds it."


def _answers(gpu: Gpu | None) -> bool:
    return gpu is not None and any(
        value is not None for value in (gpu.memory_used, gpu.utilization, gpu.temperature, gpu.power)
    )


def _own(plan: Plan, uses: tuple[GpuUse, ...]) -> Mapping[str, int]:
    """What one that sleeps has kept: it needs so much less to wake."""
    found = {use.uuid: held(frozenset({plan.launch.name}), use, alone=False) for use in uses}
    return {uuid: size for uuid, size in found.items() if size}


def _told(watched: list[_Watched], seconds: float) -> str:
    """E.g. `71.2 GiB free on GPU 0, 1 after 3 s`."""
    free = [one.free for one in watched if one.free is not None]
    numbers = ", ".join(str(one.gpu.index) for one in watched if one.free is not None)
    untold = ", ".join(str(one.gpu.index) for one in watched if one.free is None)
    if not free:
        return f"cannot be told: GPU {untold} does not report its memory"
    least, most = gib(min(free)), gib(max(free))
    words = f"{least if least == most else f'{least} to {most}'} free on GPU {numbers}"
    after = f" after {seconds:.0f} s" if seconds >= 1 else ""
    return f"{words}{after}" + (f"; GPU {untold} does not report its memory" if untold else "")


def _remedy(name: str, way: Way) -> str:
    if way is Way.FULL:
        return f"End what holds it, or have {name} take less (`gpu_memory_utilization` with vLLM)."
    gone = "was put to sleep" if way is Way.SLEEP else "was unloaded"
    return f"It did not come back when the outgoing {gone}: `tritontui swap {name} --full` stops it, which frees it."
