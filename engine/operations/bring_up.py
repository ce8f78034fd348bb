"""From a plan to a deployment that answers: create, start, check its GPUs, wait until it is ready, prompt it."""

import contextlib
from collections.abc import Collection
from typing import TYPE_CHECKING

from engine.deployment import Deployment, Lifecycle
from engine.deployments import Place
from engine.drift import differences, launch_facts
from engine.errors import EngineError, NotFound, OperationFailed, Refused
from engine.operations.fetch import fetch_image
from engine.operations.gpus import check_gpus
from engine.operations.in_the_way import adopt_hint, holds_port, runs
from engine.operations.job import MEANWHILE_S, Job, patiently, take_again
from engine.operations.ready import ReadyWait
from engine.operations.record import RolledBack, Side
from engine.operations.waiting import Waiting
from engine.plan import Plan, PortBinding
from engine.runtimes.base import Runtime
from engine.snapshot import Step, StepKind
from engine.stacks.context import is_free

if TYPE_CHECKING:
    from engine.startup import Startup

STOP_TIMEOUT_S = 45.0
"""Longer than the 30 s that Triton gives its own shutdown"""

Address = tuple[str, int]


def steps(name: str, *, placed: bool = True, wait: bool = True) -> list[Step]:
    return [create_step(name), *start_steps(name, placed=placed), *(ready_steps(name) if wait else ())]


def check_step(name: str) -> Step:
    return Step(StepKind.CHECK, "check", subject=name)


def check_again_step(name: str) -> Step:
    """After an image was fetched: what there is may be something else by now."""
    return Step(StepKind.CHECK, "check again", subject=name)


def create_step(name: str) -> Step:
    return Step(StepKind.CREATE, "create", subject=name)


def start_steps(name: str, *, placed: bool) -> list[Step]:
    found = [Step(StepKind.START, "start", subject=name)]
    return [*found, Step(StepKind.GPUS, "check GPUs", subject=name)] if placed else found


def ready_steps(name: str, *, undo: bool = False) -> list[Step]:
    return [
        Step(StepKind.WAIT, "wait until ready", subject=name, undo=undo),
        Step(StepKind.PROMPT, "answer a prompt", subject=name, undo=undo),
    ]


def replaced_step(name: str) -> Step:
    return Step(StepKind.LET_GO, "remove the one before", subject=name)


class BringUp:
    def __init__(self, job: Job, plan: Plan, found: Place | None) -> None:
        """`found`: the deployment of that name that there is already, running or kept."""
        self._job = job
        self._plan = plan
        self._found = found
        self._name = plan.launch.name
        self.runtime: Runtime = job.runtime(plan.launch.runtime)
        self.kept = False
        """Found by `check`: the one that is there is started again as it is"""
        self.startup: Startup | None = None
        """What `wait` has seen of its phases"""
        self.fetches = False
        """Found by `check`: the image is not here"""
        self.late = False
        """What goes has its name until it has stopped: it was started as this one, and serves another's model"""

    @property
    def before(self) -> Side:
        """On the runtime on which it comes: what there is of it on another one stays as it is until it serves."""
        if not self._found or self._found[0] is not self.runtime:
            return Side(self._name, self.runtime.name)
        return side(*self._found)

    @property
    def replaces(self) -> bool:
        """An older one of its name is there until it serves, to be gone back to."""
        if self.late:
            return True  # the one that what goes is in
        if not self._found:
            return False
        runtime, found = self._found
        if runtime is not self.runtime or found.replaces:
            return True
        return found.lifecycle is Lifecycle.EXITED and not self.kept and not found.made_as

    def check(self, *, running: bool, force: bool, freed: Collection[Address] = ()) -> None:
        """Raises `Refused` when it cannot be started. `freed`: ports that will be free by then."""
        if running:
            if self._found and self._found[0] is not self.runtime:
                raise Refused(
                    f"{self._name} runs on {self._found[0].name} already.",
                    f"Stop it before it is started on {self.runtime.name}.",
                )
            return
        if not force:
            refuse_obstacles(self._plan)
        self.kept = self._may_be_kept(freed)
        if self.kept:
            return
        if missing := self.runtime.missing(self._plan.launch):
            raise Refused(missing)
        image = self._plan.launch.image
        self.fetches = image is not None and not self.runtime.image_id(image)
        for port in self._plan.launch.ports:
            if not _will_be_free(port.host_ip, port.host_port, freed):
                raise self._taken(port)

    def _taken(self, port: PortBinding) -> Refused:
        what = f"Port {port.host_port} ({port.purpose}) of {self._name} is in use on {port.host_ip}"
        for runtime in self._job.tools.deployments.runtimes.values():
            with contextlib.suppress(EngineError):  # who it is only helps
                for one in (*runtime.deployments(), *runtime.foreign()):
                    if not (runs(one) and holds_port(one, port)):
                        continue
                    swap = f"`tritontui swap {self._name}` stops it, and starts {self._name} in its place."
                    return Refused(f"{what}, by {one.name}.", adopt_hint(one.name) if one.foreign else swap)
        return Refused(f"{what}.", "Stop what uses it, or give the profile another port under `expose`.")

    def _may_be_kept(self, freed: Collection[Address]) -> bool:
        """There is one that can be started again as it is."""
        if not self._found or self._found[0] is not self.runtime:
            return False
        kept = self._found[1]
        return (
            (kept.lifecycle is Lifecycle.EXITED or (kept.lifecycle is Lifecycle.RUNNING and bool(freed)))
            and is_as_planned(kept, self._plan, self.runtime)
            and all(_will_be_free(host, port, freed) for host, port in kept.service.addresses())
        )

    def fetch(self) -> None:
        """The image, which `check` found not to be here. Then it has to be planned and checked again.

        As long as nothing has been changed others may change this machine meanwhile: the lease is theirs to have.
        Raises `RolledBack` when the image cannot be had, `Refused` when the lease cannot be had again, and `Cancelled`.
        """
        job, image = self._job, self._plan.launch.image or ""
        untouched = job.interrupted is None and job.record.context is None
        job.record.insert(Step(StepKind.PULL, "fetch the image", subject=self._name))
        with job.record.step(StepKind.PULL, self._name) as waiting:
            if not untouched:
                patiently(waiting, lambda: fetch_image(self.runtime, image, waiting))
                return
            job.lease.give_back()
            try:
                patiently(waiting, lambda: fetch_image(self.runtime, image, waiting))
            except OperationFailed as error:
                raise RolledBack(str(error), "Nothing had been changed.") from error
            try:
                take_again(job.lease, waiting, MEANWHILE_S)
            except Refused as error:
                raise Refused(f"The image {image} is here now, but nothing else was done. {error}") from error
            waiting.detail(image)

    def create(self) -> None:
        """Raises what the runtime refuses with. Nothing that serves is touched: ports and GPUs are taken by a start."""
        self._job.lease.confirm()
        with self._job.record.step(StepKind.CREATE, self._name) as waiting:
            if self.kept:
                waiting.detail("kept from its last run")
                return
            patiently(waiting, self._create)
            ports = (f"{port.purpose} {port.host_ip}:{port.host_port}" for port in self._plan.launch.ports)
            waiting.detail(", ".join([*ports, *(["the one before is set aside"] if self.replaces else ())]))

    def start(self) -> None:
        """Raises what the runtime refuses with; what could not even be started is left for the caller to undo."""
        job, plan, name = self._job, self._plan, self._name
        job.lease.confirm()
        with job.record.step(StepKind.START, name) as waiting:
            patiently(waiting, lambda: self.runtime.start(name))
        if plan.placement:
            with job.record.step(StepKind.GPUS, name) as waiting:
                waiting.detail(check_gpus(plan, self.runtime, STOP_TIMEOUT_S))

    def _create(self) -> None:
        """May be asked for again when the answer to the first time was lost."""
        there = self._job.tools.deployments.on(self.runtime.name, self._name)
        if there and (there.lifecycle is Lifecycle.CREATED or there.replaces):
            self.runtime.remove(self._name)  # it may lack its files, and is not known to have served
        elif there:
            self.runtime.set_aside(self._name)
        self.runtime.create(self._plan.launch)

    def wait(self, timeout_s: float | None, *, always_prompt: bool = False) -> Deployment:
        """What is ready then, and has answered."""
        deployment = patiently(Waiting(cancelled=self._job.record.cancelled), self.deployed)
        limit_s = timeout_s or deployment.service.ready_timeout_s
        ready = ReadyWait(self._job, self.runtime, deployment, self._plan)
        try:
            ready.run(limit_s, always_prompt=always_prompt)
        finally:
            self.startup = ready.startup
        return deployment

    def let_go(self) -> None:
        """Of the one that it replaces, when it serves."""
        if not self.replaces:
            return
        try:
            with self._job.record.step(StepKind.LET_GO, self._name) as waiting:
                patiently(waiting, self._drop)
        except EngineError as error:
            raise OperationFailed(f"{self._name} runs. The one before could not be removed: {error}") from error

    def _drop(self) -> None:
        if self._found and self._found[0] is not self.runtime:
            with contextlib.suppress(NotFound):  # removed the first time
                self._found[0].remove(self._name)
        self.runtime.drop_aside(self._name)

    def deployed(self) -> Deployment:
        """Raises `OperationFailed` when it is gone."""
        found = self._job.tools.deployments.on(self.runtime.name, self._name)
        if not found:
            raise OperationFailed(f"{self._name} is gone from {self.runtime.name} right after its start.")
        return found


def _will_be_free(host: str, port: int, freed: Collection[Address]) -> bool:
    return any(port == one for _, one in freed) or is_free(host, port)


def side(runtime: Runtime, deployment: Deployment) -> Side:
    running = deployment.lifecycle is Lifecycle.RUNNING
    return Side(deployment.name, runtime.name, deployment.id, running)


def refuse_obstacles(plan: Plan) -> None:
    if plan.obstacles:
        sentences = (obstacle.rstrip(".") + "." for obstacle in plan.obstacles)
        raise Refused(" ".join(sentences), "`--force` starts it all the same.")


def is_as_planned(kept: Deployment, plan: Plan, runtime: Runtime) -> bool:
    """Whether what is kept is what the plan would make; a container keeps the GPUs that it was made with."""
    if plan.placement and set(kept.gpus) != {gpu.uuid for gpu in plan.placement}:
        return False
    if kept.launch_facts:
        if differences(kept.launch_facts, launch_facts(plan.launch)):
            return False
    elif kept.profile_digest != plan.launch.profile_digest:
        return False
    if not kept.image_id or not plan.launch.image:
        return True
    try:
        return runtime.image_id(plan.launch.image) in ("", kept.image_id)
    except EngineError:
        return True  # what there is can be started without its image's name
