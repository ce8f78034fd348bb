"""Which processes have the memory of each GPU, and whose they are."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.deployment import Deployment
from engine.errors import EngineError
from engine.fit.values import gib
from engine.gpu_reading import GpuProcess
from engine.observe.gpu_owners import Owners
from engine.observe.in_time import InTime
from engine.observe.nvml import DriverError, GpuUse, Nvml
from engine.runtimes.base import Runtime

DRIVER_S = 5.0
"""A driver that takes longer is taken for hung"""


class GpuProcesses:
    """Call it from any thread. Nothing is raised: what cannot be told is left out."""

    def __init__(self, runtimes: Mapping[str, Runtime]) -> None:
        self._runtimes = runtimes
        self._driver = InTime(_read)
        self._owners = Owners()

    def __call__(self) -> tuple[GpuUse, ...]:
        """Every GPU that can be read; none when the driver does not answer."""
        try:
            uses = self._driver.ask(DRIVER_S) or ()
        except DriverError:
            return ()
        if not any(use.processes for use in uses):
            return uses
        told = self._owners.tell((use.processes for use in uses), self._deployments())
        return tuple(replace(use, processes=processes) for use, processes in zip(uses, told, strict=True))

    def _deployments(self) -> list[Deployment]:
        """Those that were started by hand, too."""
        found: list[Deployment] = []
        for runtime in self._runtimes.values():
            with contextlib.suppress(EngineError):  # its processes are told by their own names
                found += (*runtime.foreign(), *runtime.deployments())
        return found


def held(names: frozenset[str], use: GpuUse, *, alone: bool) -> int | None:
    """Bytes of one GPU that these deployments have, and free when they end; None when it cannot be told.

    `alone`: no other deployment runs on it. Then all that is used is theirs, unless somebody else is listed.
    """
    listed = use.processes or ()
    own = [process.used for process in listed if process.deployment in names]
    told = [used for used in own if used is not None]
    if own and len(told) == len(own):
        return sum(told)
    return use.used if alone and len(own) == len(listed) else None


def named(processes: Iterable[GpuProcess]) -> str:
    """E.g. `mixtral (pid 4711, 31.0 GiB), python3 (pid 77)`; the largest first."""
    largest_first = sorted(processes, key=lambda process: -(process.used or 0))
    return ", ".join(
        f"{process.deployment or process.name or 'a process'} (pid {process.pid}"
        f"{'' if process.used is None else f', {gib(process.used)}'})"
        for process in largest_first
    )


def _read() -> tuple[GpuUse, ...]:
    nvml = Nvml()
    try:
        return nvml.uses()
    finally:
        nvml.close()
