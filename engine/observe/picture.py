"""Puts together, from all that is known at one moment, the snapshot that is shown."""

import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.catalog import Catalog
from engine.deployment import Deployment, State, precedence
from engine.gpu_reading import GpuReading
from engine.observe.causes import Causes
from engine.observe.drift import Planned, image_drift
from engine.observe.gpus import aged
from engine.observe.probe import Health
from engine.observe.runs import Runs
from engine.observe.startups import Startups
from engine.observe.state import Verdict, judge
from engine.observe.watch import Watches
from engine.snapshot import LeaseStatus, Model, OperationStatus, Outcome, RuntimeStatus, Snapshot
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.diagnosis import Diagnosis
    from engine.profile import Watch

ENDED_OPERATIONS = 20
DIE_WITH_0 = ("vllm",)
"""Stacks whose server may end without an error when its engine is gone"""


@dataclass
class Known:
    """The latest word of each source; None or nothing before its first."""

    hostname: str
    runs: Runs
    planned: Planned
    startups: Startups
    watches: Watches
    causes: Causes | None = None
    runtimes: tuple[str, ...] = ()
    """Names, in the order that they are shown in"""
    read_only: str = ""
    catalog: Catalog | None = None
    deployments: dict[str, tuple[Deployment, ...]] = field(default_factory=dict)
    """By runtime"""
    foreign: dict[str, tuple[Deployment, ...]] = field(default_factory=dict)
    """By runtime"""
    status: dict[str, RuntimeStatus] = field(default_factory=dict)
    operations: tuple[OperationStatus, ...] = ()
    """Newest first"""
    images: dict[tuple[str, str], str] = field(default_factory=dict)
    """As `engine.observe.drift.ImageIds`"""
    gpus: GpuReading | None = None
    lease: LeaseStatus | None = None

    @property
    def limits(self) -> "Mapping[str, Watch]":
        """What each profile says of when it needs to be looked at, by name."""
        entries = self.catalog.entries if self.catalog else {}
        return {name: entry.profile.watch for name, entry in entries.items()}

    @property
    def busy(self) -> Collection[str]:
        """Names of what operations are changing."""
        running = (status for status in self.operations if status.outcome is Outcome.RUNNING)
        return {name for status in running for name in status.subjects}

    @property
    def leased(self) -> bool:
        """Somebody is changing the machine, perhaps another user."""
        return self.lease is not None and self.lease.alive is not False

    def newest(self) -> dict[str, Deployment]:
        """Ours by name, one for each."""
        every = sorted(_flat(self.deployments), key=precedence)
        return {deployment.name: deployment for deployment in every}

    def by_hand(self) -> list[Deployment]:
        """Foreign ones, less those that have just been adopted."""
        ours = {deployment.id for deployment in _flat(self.deployments)}
        return [deployment for deployment in _flat(self.foreign) if deployment.id not in ours]

    def every(self) -> Iterator[Deployment]:
        """Ours and foreign ones."""
        yield from _flat(self.deployments)
        yield from self.by_hand()


def picture(known: Known, *, loading: bool, trouble: str) -> Snapshot:
    now = time.time()
    catalog = known.catalog
    entries = catalog.entries if catalog else {}
    models = {name: _deployed(known, deployment, now) for name, deployment in known.newest().items()}
    for name, entry in entries.items():
        profile, path, estimate = entry.profile, clean_line(str(entry.path)), known.planned.estimate(name)
        model = models.get(name)
        if model and model.deployment:
            drift = (*image_drift(model.deployment, known.images), *known.planned.drift(model.deployment))
            models[name] = replace(
                model, summary=profile.summary, has_profile=True, profile_path=path, drift=drift, estimate=estimate
            )
        else:
            models[name] = Model(
                name,
                State.ABSENT,
                profile.summary,
                profile.stack,
                profile.runtime,
                profile_path=path,
                estimate=estimate,
            )
    for deployment in known.by_hand():
        models[deployment.name] = replace(_deployed(known, deployment, now), foreign=True)
    order = [*entries, *sorted(models.keys() - entries.keys(), key=lambda name: (models[name].foreign, name))]
    return Snapshot(
        at=now,
        hostname=known.hostname,
        loading=loading,
        models=tuple(models[name] for name in order),
        problems=catalog.problems if catalog else (),
        runtimes=tuple(known.status[name] for name in known.runtimes if name in known.status),
        operations=known.operations[:ENDED_OPERATIONS],
        lease=known.lease,
        read_only=known.read_only,
        gpus=aged(known.gpus, now) if known.gpus else None,
        trouble=trouble,
    )


def _deployed(known: Known, deployment: Deployment, now: float) -> Model:
    run = known.runs.of(deployment)
    operations = tuple(status for status in known.operations if deployment.name in status.subjects)
    verdict = judge(
        deployment,
        run.probe if run else None,
        operations,
        now,
        was_ready=run.was_ready if run else False,
        probed_at=run.probed_at if run else math.inf,
        asleep=run.asleep if run else False,
    )
    status = known.status.get(deployment.runtime)
    startup = known.startups.of(deployment)
    diagnosis = _diagnosed(known, deployment, verdict)
    if verdict.by_itself and diagnosis:
        verdict = replace(verdict, state=State.FAILED, detail="it ended by itself (exit code 0)")
    starting = verdict.state is State.STARTING and startup is not None and startup.current is not None
    # That it refuses is what a server does until it is ready; that it accepts and is silent is not.
    usual = starting and run is not None and run.probe is not None and run.probe.health is not Health.SILENT
    return Model(
        name=deployment.name,
        state=verdict.state,
        stack=deployment.stack,
        runtime=deployment.runtime,
        detail="" if usual else verdict.detail,
        since=verdict.since,
        has_profile=False,
        deployment=deployment,
        startup=startup,
        cause=diagnosis.best if diagnosis else None,
        stale_since=status.since if status and not status.reachable else None,
        notices=known.watches.of(run) if run else (),
    )


def _diagnosed(known: Known, deployment: Deployment, verdict: Verdict) -> "Diagnosis | None":
    """Of what has failed, as far as it is known by now; None of all else."""
    died = verdict.by_itself and deployment.stack in DIE_WITH_0
    if not known.causes or not (died or verdict.state is State.FAILED):
        return None
    diagnosis = known.causes.of(deployment)
    return diagnosis if not died or (diagnosis and diagnosis.died) else None


def _flat(by_runtime: dict[str, tuple[Deployment, ...]]) -> Iterable[Deployment]:
    return (deployment for deployments in by_runtime.values() for deployment in deployments)
