"""Who else uses the GPUs: programs that are no deployments of ours."""

from collections.abc import Iterator, Mapping

from engine.deployment import Lifecycle
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import gpus, listed, size
from engine.finding import Finding, Severity
from engine.gpu_reading import GpuProcess
from engine.observe.nvml import GpuUse

ID = "gpu-users"
_LITTLE = 1 << 30
"""A desktop, or a tool that only looks"""


def look(facts: Facts) -> Iterator[Finding]:
    there = facts.driver().devices
    if not there:
        return
    deployments = facts.deployments()
    ours = {one.name for one in deployments}
    held = {uuid for one in deployments if one.lifecycle is Lifecycle.RUNNING for uuid in one.gpus}
    """Its processes may be out of sight, as from within a container"""
    total = {device.index: device.readout.memory_total for device in there}
    findings = [found for use in facts.uses() for found in _of_one(use, ours, total, held=use.uuid in held)]
    yield from findings
    if not findings:
        yield Finding(ID, "Nobody else uses the GPUs", Severity.OK, f"{len(there)} looked at (NVML, processes).")


def _of_one(use: GpuUse, ours: set[str], total: Mapping[int, int | None], *, held: bool) -> Iterator[Finding]:
    whole = total.get(use.index)
    of_all = f" of {size(whole)}" if whole else ""
    if use.processes is None:
        return
    others = [one for one in use.processes if one.deployment not in ours or not one.deployment]
    taken = sum(one.used or 0 for one in others)
    if others:
        yield Finding(
            ID,
            f"{gpus([use.index])} is used by others",
            Severity.WARNING if taken >= _LITTLE else Severity.INFO,
            f"{listed(map(_told, others))}: {size(taken)}{of_all} (NVML, processes).",
            "What is started there must fit beside them: stop them, choose other GPUs, or leave them room with"
            " `reserve`."
            if taken >= _LITTLE
            else "",
        )
    elif not held and not use.processes and use.used is not None and use.used >= _LITTLE:
        yield Finding(
            ID,
            f"{gpus([use.index])} has memory in use by nobody",
            Severity.WARNING,
            f"{size(use.used)}{of_all} are in use, and no process is listed (NVML): one of another container or"
            " machine, or"
            " one that ended and was not cleaned up after.",
            "See who has the device open; if nobody has, reset the GPU.",
            f"sudo fuser -v /dev/nvidia{use.index}",
        )


def _told(process: GpuProcess) -> str:
    name = process.deployment or process.name or "a process"
    return f"{name} (pid {process.pid}{'' if process.used is None else f', {size(process.used)}'})"
