"""The engine as screens and scripts see it: one object in front of the rooms behind it."""

import asyncio
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from engine import profile_files
from engine.api import Cancel, LogFeed, ProfileSource
from engine.deployment import Deployment, Lifecycle, Service
from engine.diagnosis import Change, Diagnosis
from engine.errors import InvalidProfile, NotFound, OperationFailed
from engine.finding import Finding
from engine.gpu_reading import GpuReading
from engine.inference.offer import Offer
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Transport
from engine.inference.runner import PromptRunner
from engine.launcher import Launcher
from engine.load.obstacle import in_the_way
from engine.load_plan import LoadPlan
from engine.load_result import LoadEvent, LoadResult
from engine.log_line import LogLine
from engine.metrics_reading import Family, MetricsReading, Series
from engine.observe import metric_follow
from engine.observe.gpu_follow import follow
from engine.observe.gpus import GpuSampler
from engine.observe.log_tail import read_lines
from engine.observe.logs import LogReader
from engine.observe.monitor import Monitor
from engine.observe.state import NOT_PROBED
from engine.operating import Parts
from engine.operations.lease import current
from engine.plan import Adoption, Plan, SwapPlan
from engine.prompt_record import KeptPrompt, SavedPrompt
from engine.request import Request
from engine.runtimes.base import Runtime
from engine.settings import Settings, refuse_read_only
from engine.snapshot import AuditEntry, LeaseStatus, OperationStatus, Snapshot
from engine.text import clean_line

SURVEY_LIMIT_S = 15.0
METRICS_LIMIT_S = 3.5
"""For what is asked at the same time as whether it is ready, and has a deadline of 3 s"""


class Engine:
    """Implements `engine.api.EngineApi`, and beside it the blocking calls that scripts use."""

    def __init__(self, settings: Settings, runtimes: dict[str, Runtime] | None = None) -> None:
        self._settings = settings
        self._parts = Parts(settings, runtimes)
        self._gpu_sampler = GpuSampler()
        self._prompts = PromptRunner()
        self._monitor = self._new_monitor(in_depth=True)
        self._launcher = Launcher(settings, self._parts.journal)

    def _new_monitor(self, *, in_depth: bool = False) -> Monitor:
        """`in_depth`: it reads logs, too, for how far a start is and why another failed, and sends canaries."""
        parts = self._parts
        return Monitor(
            parts.runtimes,
            parts.catalog,
            parts.journal,
            self._gpu_sampler,
            plan=parts.planning.plan,
            history=parts.history,
            usual=parts.history.usual if in_depth else None,
            diagnose=parts.diagnoses.of_run if in_depth else None,
            lease=lambda: current(parts.runtimes),
            ask=self._prompts.ask if in_depth else None,
            metrics=parts.metric_history if in_depth else None,
            kept=lambda: parts.prompts.known_problem or parts.loads.store.problem,
            read_only=self._settings.read_only,
        )

    # -- for screens --------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._monitor.open()

    def close(self) -> None:
        self._parts.loads.close()
        self._prompts.close()
        self._monitor.close()

    def subscribe(self, listener: Callable[[Snapshot], None]) -> Cancel:
        return self._monitor.subscribe(listener)

    def submit(self, request: Request) -> None:
        self._launcher.begin(request, self._monitor.operation_changed)

    def cancel(self, operation: str) -> None:
        self._launcher.cancel(operation)

    def open_log(self, name: str, changed: Callable[[], None], *, tail: int | None = None) -> LogFeed:
        return LogReader(self._parts.runtimes[self._shown(name).runtime], name, changed, tail=tail)

    def metrics(self, name: str) -> MetricsReading:
        return self._monitor.metrics(name)

    def families(self, name: str) -> Sequence[Family]:
        return self._monitor.families(name)

    def pin(self, name: str, family: str, *, pinned: bool) -> None:
        self._monitor.pin(name, family, pinned=pinned)

    def gpu_history(self, index: int) -> Sequence[Series]:
        return self._monitor.gpu_history(index)

    def ask(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> Cancel:
        deployment = self._shown(name)
        return self._prompts.ask(_answering(deployment), request, self._parts.prompts.keeping(deployment, on_event))

    def load(self, name: str, plan: LoadPlan, on_event: Callable[[LoadEvent], None]) -> Cancel:
        return self._begin_load(self._shown(name), plan, on_event)

    def _begin_load(self, deployment: Deployment, plan: LoadPlan, on_event: Callable[[LoadEvent], None]) -> Cancel:
        """It disturbs a service that others use, so it counts as a change."""
        refuse_read_only(self._settings, f"a load test of {deployment.name}")
        _answering(deployment)
        journal, name = self._parts.journal, deployment.name
        return self._parts.loads.begin(deployment, plan, on_event, lambda: in_the_way(journal.recent(10), name))

    def offer(self, name: str, transport: Transport | None = None) -> Offer:
        from engine.inference.discover import discover

        return asyncio.run(discover(_answering(self._watched(name)[1]), transport))

    def _shown(self, name: str) -> Deployment:
        """From what is observed, so that nothing is waited for. Raises `NotFound`."""
        model = self._monitor.latest.model(name)
        if not model or not model.deployment:
            raise NotFound(f"{name} has not been started: there is no deployment of that name.")
        return model.deployment

    # -- for scripts; all of these block ------------------------------------------------------------------------------

    def plan(self, name: str, runtime: str | None = None) -> Plan:
        observed = self._monitor.latest.gpus
        if observed and any(gpu.source for gpu in observed.gpus):  # a server sees only its own GPUs
            observed = None
        plan = self._parts.planning.plan(name, runtime, observed=observed)
        return replace(plan, reported=self._parts.history.reported(name))

    def plan_swap(
        self, name: str, outgoing: tuple[str, ...] = (), *, full: bool = False, runtime: str | None = None
    ) -> SwapPlan:
        """`runtime`: for what comes; where its profile says when None."""
        return self._parts.swaps.plan(name, outgoing, runtime, full=full)

    def plan_adoption(self, name: str) -> Adoption:
        return self._parts.plan_adoption(name)

    def profile_source(self, name: str) -> ProfileSource:
        return profile_files.source(self._parts.catalog.load(), self._settings, name)

    def duplicate(self, name: str, new_name: str) -> Path:
        refuse_read_only(self._settings, f"duplicating {clean_line(name)}")
        return profile_files.duplicate(self._parts.catalog.load(), self._settings, name, new_name)

    def diagnose(self, name: str) -> Diagnosis:
        return self._parts.diagnoses.of(name)

    def with_changes(self, name: str, changes: Sequence[Change]) -> str:
        from engine.authoring.changed import with_changes

        return with_changes(self._parts.catalog.load(), self._settings, name, changes)

    def write_changed(self, name: str, new_name: str, changes: Sequence[Change]) -> Path:
        from engine.authoring.changed import write_changed

        refuse_read_only(self._settings, f"copying {clean_line(name)} with changes")
        return write_changed(self._parts.catalog.load(), self._settings, name, new_name, changes)

    def kept_prompts(
        self, name: str | None = None, limit: int = 200, *, same_as: PromptRequest | None = None
    ) -> Sequence[KeptPrompt]:
        """`same_as`: only runs of the same texts and tensors, whatever their other options."""
        return self._parts.prompts.last(name, limit, same_as)

    def kept_prompts_problem(self) -> str:
        """Why what was kept or read last is not whole; empty when all is well."""
        return self._parts.prompts.problem

    def saved_prompts(self) -> Sequence[SavedPrompt]:
        from engine.prompts import saved

        return tuple(saved.load(self._settings).entries.values())

    def saved_prompt(self, wanted: str) -> SavedPrompt:
        """By name or path. Raises `NotFound`, and `InvalidPrompt` when the file is wrong."""
        from engine.prompts import saved

        return saved.find(self._settings, wanted)

    def save_prompt(self, prompt: SavedPrompt, *, overwrite: bool = False) -> Path:
        from engine.prompts import saved

        refuse_read_only(self._settings, f"saving the prompt {clean_line(prompt.name)}")
        return saved.save(self._settings, prompt, overwrite=overwrite)

    def doctor(
        self, found: Callable[[Finding], None] = lambda _: None, profile: str | None = None
    ) -> Sequence[Finding]:
        """`profile`: only for its needs. Raises `NotFound` when there is none of that name."""
        from engine.diagnose.doctor import examine

        parts = self._parts
        return examine(self._settings, parts.catalog.load(), parts.runtimes, parts.processes, found, profile)

    def survey(self) -> Snapshot:
        """One complete look at everything, at most `SURVEY_LIMIT_S`, metrics of what is ready included.

        Its notices are what one look tells, and what open consoles have measured: how long it has held is not known.
        """
        complete = threading.Event()
        latest: list[Snapshot] = []

        def take(snapshot: Snapshot) -> None:
            latest.append(snapshot)
            probed = all(model.detail != NOT_PROBED for model in snapshot.models)
            if not snapshot.loading and probed:
                complete.set()

        monitor = self._new_monitor()
        unsubscribe = monitor.subscribe(take)
        monitor.open()
        if complete.wait(SURVEY_LIMIT_S):
            monitor.wait_for_metrics(METRICS_LIMIT_S)
        unsubscribe()
        monitor.close()
        return monitor.at_a_glance(latest[-1], self._parts.metric_history)

    def perform(self, request: Request, progress: Callable[[OperationStatus], None] | None = None) -> OperationStatus:
        """Blocks until the operation has ended; how, is in what it returns.

        KeyboardInterrupt leaves it going on in its own process. Raises `EngineError` when it could not even be begun.
        """
        return self._launcher.perform(request, progress or (lambda _: None))

    def follow(self, operation: str, progress: Callable[[OperationStatus], None] | None = None) -> OperationStatus:
        """Attaches to an operation by its id; returns at its end. Raises `NotFound` and `OperationFailed`."""
        return self._launcher.follow(operation, progress or (lambda _: None))

    def operations(self) -> tuple[OperationStatus, ...]:
        """Newest first, those under way and those that ended or were interrupted."""
        return self._parts.journal.recent()

    def history(self, limit: int = 200, *, name: str | None = None, since: float | None = None) -> Sequence[AuditEntry]:
        """`name`: only what was done with that deployment; `since`: seconds since the epoch."""
        return self._parts.audit.read(limit, name=name, since=since)

    def lease(self) -> LeaseStatus | None:
        return current(self._parts.runtimes)

    def read_log(
        self, name: str, *, tail: int | None, follow: bool, since: float | None = None
    ) -> Generator[LogLine, None, None]:
        """Lines as they come; closing the generator closes the log. Raises `EngineError`."""
        return read_lines(self._watched(name)[0], name, tail=tail, follow=follow, since=since)

    def scrape(self, name: str) -> MetricsReading:
        """Two scrapes a second apart, so that rates exist. Raises `EngineError` when the endpoint gives none."""
        with closing(self.watch_metrics(name)) as readings:
            return next(readings)

    def watch_metrics(self, name: str) -> Generator[MetricsReading, None, None]:
        """A reading about every second, without end. The first raises `EngineError` when the endpoint gives none."""
        return metric_follow.follow(self._metrics_url(name))

    def family(self, name: str, family: str) -> Sequence[str]:
        """The lines of a metric family as the endpoint words them. Raises `NotFound` and other `EngineError`s."""
        return metric_follow.family(self._metrics_url(name), family)

    def _metrics_url(self, name: str) -> str:
        service = _answering(self._watched(name)[1])
        if not service.metrics:
            raise InvalidProfile(f"{name} exposes no metrics.", "Add `metrics` under `expose` in its profile.")
        return service.metrics

    def gpus(self) -> GpuReading:
        """With all that belongs to them; takes some seconds where there are GPUs."""
        with closing(self.watch_gpus()) as readings:
            return next(readings)

    def watch_gpus(self) -> Generator[GpuReading, None, None]:
        """A reading about every second, without end; closing the generator ends it."""
        return follow(self._new_monitor())

    def require_running(self, name: str) -> None:
        """Raises `NotFound` when there is no deployment of that name, `OperationFailed` when it does not run."""
        _answering(self._watched(name)[1])

    def ask_blocking(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> PromptResult:
        """Blocks until the prompt has ended; KeyboardInterrupt cancels it. Raises as `ask` does."""
        ended = threading.Event()
        results: list[PromptResult] = []
        deployment = self._watched(name)[1]
        service = _answering(deployment)

        def take(event: PromptEvent) -> None:
            on_event(event)
            if isinstance(event, PromptResult):
                results.append(event)
                ended.set()

        cancel = self._prompts.ask(service, request, self._parts.prompts.keeping(deployment, take))
        try:
            ended.wait()
        except KeyboardInterrupt:
            cancel()
            ended.wait(timeout=2.0)
        return results[0] if results else PromptResult(request, PromptOutcome.CANCELLED, "")

    def load_blocking(self, name: str, plan: LoadPlan, on_event: Callable[[LoadEvent], None]) -> LoadResult:
        """Blocks until the test has ended; KeyboardInterrupt stops it, with what was measured. Raises as `load` does.

        `on_event` is called from another thread.
        """
        results: queue.SimpleQueue[LoadResult] = queue.SimpleQueue()

        def take(event: LoadEvent) -> None:
            on_event(event)
            if isinstance(event, LoadResult):
                results.put(event)

        cancel = self._begin_load(self._watched(name)[1], plan, take)
        while True:
            try:
                return results.get()
            except KeyboardInterrupt:
                cancel()

    def loads(self, name: str | None = None, limit: int = 100) -> Sequence[LoadResult]:
        return self._parts.loads.store.results(name, limit)

    def export_load(self, result: LoadResult, path: Path) -> int:
        from engine.load.export import export

        return export(result, self._parts.loads.store.records(result), path)

    def _watched(self, name: str) -> tuple[Runtime, Deployment]:
        return self._parts.deployments.watched(name)


def _answering(deployment: Deployment) -> Service:
    """Raises `OperationFailed` when it does not run: what has its ports now is another, and would answer for it."""
    if deployment.lifecycle is not Lifecycle.RUNNING:
        raise OperationFailed(f"{deployment.name} does not run.", "Start it first; `tritontui ls` shows what runs.")
    return deployment.service
