"""From a name to its plan: the profile, the machine around it, and the stack that knows what to do."""

from collections.abc import Mapping
from dataclasses import replace

from engine.catalog import CatalogReader
from engine.errors import InvalidProfile
from engine.gpu_reading import GpuReading
from engine.machine import DeadlineSampler, Surroundings
from engine.plan import Plan
from engine.runtimes.base import Runtime
from engine.settings import Settings
from engine.stacks import STACKS
from engine.stacks.context import PlanContext, possible_runtimes
from engine.stacks.placement import NO_CREDIT, Credit


class Planning:
    def __init__(self, settings: Settings, runtimes: Mapping[str, Runtime], catalog: CatalogReader) -> None:
        self._settings = settings
        self._runtimes = runtimes
        self._catalog = catalog
        self.sampler = DeadlineSampler()

    def plan(
        self, name: str, runtime: str | None, credit: Credit = NO_CREDIT, *, observed: GpuReading | None = None
    ) -> Plan:
        """Blocks (reads files, tries ports, asks the runtime). Raises `EngineError`.

        `observed`: a reading of the GPUs that will do while it is fresh; otherwise they are read now.
        """
        entry = self._catalog.load().get(name)
        possible = possible_runtimes(entry.profile)
        chosen = runtime or entry.profile.runtime
        if chosen not in possible:
            raise InvalidProfile(
                f"{name} cannot be started on {chosen}: its profile allows {' and '.join(possible)}.",
                "Name an `image` in the profile to run it on Docker."
                if chosen == "docker"
                else "Say `runtime: docker`.",
            )
        around = Surroundings(self._runtimes, chosen, credit)
        machine = around.machine(entry.profile, observed, self.sampler)
        context = PlanContext(entry.profile, entry.path, entry.digest, chosen, self._settings, machine)
        plan = STACKS[entry.profile.stack](context)
        around.look_for(plan.launch)
        return replace(plan, warnings=(*plan.warnings, *around.warnings))
