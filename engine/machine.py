"""What a plan needs to know of this machine, each with a deadline: its GPUs, who runs on them, what an image sets."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from engine.deployment import Deployment, Lifecycle, precedence
from engine.errors import EngineError, Refused
from engine.freshness import Freshness
from engine.gpu_reading import GpuReading
from engine.observe.gpus import GpuSampler, aged
from engine.observe.in_time import InTime
from engine.runtimes.base import Runtime
from engine.secrets import resolve_secrets
from engine.stacks.placement import NO_CREDIT, Credit, Machine

if TYPE_CHECKING:
    from engine.plan import Launch
    from engine.profile import Profile

Answer = TypeVar("Answer")

GPUS_S = 5.0
"""A driver that takes longer is taken for hung"""
UNPLACED = "which GPUs it gets is left to the runtime, unchecked."


class DeadlineSampler:
    """Samples GPUs with a deadline, from any thread."""

    def __init__(self) -> None:
        self._driver = InTime(GpuSampler().sample)

    def sample(self) -> GpuReading | None:
        """None when the driver does not answer."""
        return self._driver.ask(GPUS_S)


def ports_of(deployment: Deployment | None) -> dict[str, int]:
    """By purpose, as a profile's `expose` names them."""
    if deployment is None:
        return {}
    service = deployment.service
    found: dict[str, int] = {}
    for purpose, address in (("http", service.http), ("grpc", service.grpc), ("metrics", service.metrics)):
        one = replace(service, http=address or "", grpc=None, metrics=None)
        found.update((purpose, port) for _, port in one.addresses())
    return found


class Surroundings:
    """Of one plan. What cannot be asked is left out and said in `warnings`; nothing is raised."""

    def __init__(self, runtimes: Mapping[str, Runtime], chosen: str, credit: Credit = NO_CREDIT) -> None:
        self._runtimes = runtimes
        self._chosen = chosen
        self._credit = credit
        self._freed = frozenset[str]() if credit.keep_ports else credit.deployments
        """Deployments whose ports are free when the plan is carried out"""
        self._silent = False
        self.warnings: list[str] = []

    def machine(self, profile: "Profile", observed: GpuReading | None, sampler: DeadlineSampler) -> Machine:
        """`observed`: a reading that will do when it is fresh."""
        claimed = self._claimed_ports(profile.name)
        wants_gpus = profile.gpus not in (0, [])
        chooses_ports = profile.expose is not None and "auto" in profile.expose.model_dump().values()
        deployments = self._deployments() if wants_gpus or self._freed or chooses_ports else []
        here = (found for found in deployments if (found.name, found.runtime) == (profile.name, self._chosen))
        own = max(here, key=precedence, default=None)
        own_runs = own is not None and own.lifecycle is Lifecycle.RUNNING
        freed = frozenset(
            port
            for found in deployments
            if found.name in self._freed and found.lifecycle is Lifecycle.RUNNING
            for _, port in found.service.addresses()
        )
        if not wants_gpus:
            return Machine(
                image_env=self._image_env,
                claimed_ports=claimed,
                own_ports=ports_of(own),
                own_runs=own_runs,
                freed_ports=freed,
            )
        fresh = observed is not None and aged(observed, time.time()).freshness is Freshness.FRESH
        reading = observed if fresh else sampler.sample()
        gpus = tuple(gpu for gpu in reading.gpus if gpu.uuid) if reading else ()
        if reading is None:
            self.warnings.append(f"The NVIDIA driver did not answer within {GPUS_S:g} s: {UNPLACED}")
        elif reading.freshness is not Freshness.FRESH:
            gpus = ()
            why = reading.message if reading.freshness is not Freshness.NONE else "No GPU is known on this machine"
            self.warnings.append(f"{why.rstrip('.')}: {UNPLACED}")
        holders: dict[str, tuple[str, ...]] = {}
        for deployment in deployments:
            if deployment.lifecycle is Lifecycle.RUNNING:
                for uuid in deployment.gpus:
                    holders[uuid] = (*holders.get(uuid, ()), deployment.name)
        last = max((found for found in deployments if found.name == profile.name), key=precedence, default=None)
        return Machine(
            gpus,
            holders,
            last.gpus if last else (),
            self._image_env,
            claimed,
            self._credit,
            own_ports=ports_of(own),
            own_runs=own_runs,
            freed_ports=freed,
        )

    def _claimed_ports(self, but: str) -> frozenset[int]:
        """Of local processes: they take their ports only when they have loaded. Docker takes a container's at once."""
        local = self._runtimes.get("process")
        if local is None:
            return frozenset()
        try:
            running = [found for found in local.deployments() if found.lifecycle is Lifecycle.RUNNING]
        except EngineError:
            return frozenset()  # whoever looks at that runtime is told
        others = (found for found in running if found.name not in (but, *self._freed))
        return frozenset(port for found in others for _, port in found.service.addresses())

    def look_for(self, launch: "Launch") -> None:
        """Warns of what is not here, such as the image or a secret."""
        for variable, reference in launch.secrets.items():
            try:
                resolve_secrets({variable: reference})
            except Refused as error:
                self.warnings.append(str(error))
        if missing := self._ask(lambda runtime: runtime.missing(launch), ""):
            self.warnings.append(missing)
        image = launch.image
        if image and not self._ask(lambda runtime: runtime.image_id(image), "") and not self._silent:
            self.warnings.append(f"The image {image} is not on this machine: it is fetched first.")

    def _deployments(self) -> list[Deployment]:
        found: list[Deployment] = []
        for runtime in self._runtimes.values():
            try:
                found += runtime.deployments()
            except EngineError as error:
                if runtime.name == self._chosen:
                    self._fell_silent(error)
        return found

    def _image_env(self, image: str) -> Mapping[str, str]:
        return self._ask(lambda runtime: runtime.image_env(image), {})

    def _ask(self, question: Callable[[Runtime], Answer], otherwise: Answer) -> Answer:
        """Of the plan's own runtime. One that does not answer is waited for once."""
        if self._silent:
            return otherwise
        try:
            return question(self._runtimes[self._chosen])
        except EngineError as error:
            self._fell_silent(error)
            return otherwise

    def _fell_silent(self, error: EngineError) -> None:
        self._silent = True
        self.warnings.append(str(error))
