"""The engine as screens and scripts see it: one object in front of the rooms behind it."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

from engine import profile_files
from engine.api import Cancel, LogFeed, LogLine, ProfileSource
from engine.catalog import CatalogReader
from engine.deployment import Deployment
from engine.errors import EngineError, InvalidProfile, NotFound
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult
from engine.inference.runner import PromptRunner
from engine.machine import DeadlineSampler, Surroundings
from engine.observe.gpus import GpuSampler
from engine.observe.log_tail import read_lines
from engine.observe.logs import LogReader
from engine.observe.metrics import MetricsTracker, scrape
from engine.observe.monitor import Monitor
from engine.observe.probe import new_client
from engine.observe.state import NOT_PROBED
from engine.operations.conductor import Conductor
from engine.plan import Plan
from engine.request import Action
from engine.runtimes import RUNTIMES, Runtime
from engine.settings import Settings
from engine.snapshot import GpuReading, MetricsReading, OperationStatus, Snapshot
from engine.stacks import STACKS
from engine.stacks.context import PlanContext, possible_runtimes
from engine.store import Journal

SURVEY_LIMIT_S = 8.0
SCRAPE_APART_S = 1.0


class Engine:
    """Implements `engine.api.EngineApi`, and beside it the blocking calls that scripts use."""

    def __init__(self, settings: Settings, runtimes: dict[str, Runtime] | None = None) -> None:
        self._settings = settings
        self._runtimes = runtimes or {name: make(settings) for name, make in RUNTIMES.items()}
        self._catalog = CatalogReader(settings)
        self._journal = Journal(settings.state_dir / "history.sqlite")
        self._gpu_sampler = GpuSampler()
        self._monitor = Monitor(self._runtimes, self._catalog, self._journal, self._gpu_sampler)
        self._deadline_sampler = DeadlineSampler()
        self._conductor = Conductor(settings, self._runtimes, self._journal, self._plan_now)
        self._prompts = PromptRunner()

    # -- for screens --------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self._monitor.open()

    def close(self) -> None:
        self._conductor.closing.set()
        self._prompts.close()
        self._monitor.close()

    def subscribe(self, listener: Callable[[Snapshot], None]) -> Cancel:
        return self._monitor.subscribe(listener)

    def submit(self, action: Action, name: str, *, runtime: str | None = None, force: bool = False) -> None:
        def carry_out() -> None:
            try:
                self._conductor.run(
                    action, name, runtime=runtime, force=force, progress=self._monitor.operation_changed
                )
            except EngineError:
                return  # the record holds it, and the snapshots show it

        threading.Thread(target=carry_out, name=f"{action.value}-{name}", daemon=True).start()

    def open_log(self, name: str, changed: Callable[[], None], *, tail: int | None = None) -> LogFeed:
        return LogReader(self._runtimes[self._shown(name).runtime], name, changed, tail=tail)

    def metrics(self, name: str) -> MetricsReading:
        return self._monitor.metrics(name)

    def ask(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> Cancel:
        return self._prompts.ask(self._shown(name).service, request, on_event)

    def _shown(self, name: str) -> Deployment:
        """From what is observed, so that nothing is waited for. Raises `NotFound`."""
        model = self._monitor.latest.model(name)
        if not model or not model.deployment:
            raise NotFound(f"{name} has not been started: there is no deployment of that name.")
        return model.deployment

    # -- for scripts; all of these block ------------------------------------------------------------------------------

    def plan(self, name: str, runtime: str | None = None) -> Plan:
        return self._plan(name, runtime, self._monitor.latest.gpus)

    def _plan_now(self, name: str, runtime: str | None = None) -> Plan:
        """What is seen once a second is too old for a plan that is carried out: memory was freed only just now."""
        return self._plan(name, runtime, None)

    def _plan(self, name: str, runtime: str | None, observed: GpuReading | None) -> Plan:
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
        around = Surroundings(self._runtimes, chosen)
        machine = around.machine(entry.profile, observed, self._deadline_sampler)
        context = PlanContext(entry.profile, entry.path, entry.digest, chosen, self._settings, machine)
        plan = STACKS[entry.profile.stack](context)
        around.look_for(plan.launch)
        return replace(plan, warnings=(*plan.warnings, *around.warnings))

    def profile_source(self, name: str) -> ProfileSource:
        return profile_files.source(self._catalog.load(), self._settings, name)

    def duplicate(self, name: str, new_name: str) -> Path:
        return profile_files.duplicate(self._catalog.load(), self._settings, name, new_name)

    def survey(self) -> Snapshot:
        """One complete look at everything, at most `SURVEY_LIMIT_S`."""
        complete = threading.Event()
        latest: list[Snapshot] = []

        def take(snapshot: Snapshot) -> None:
            latest.append(snapshot)
            probed = all(model.detail != NOT_PROBED for model in snapshot.models)
            if not snapshot.loading and probed:
                complete.set()

        monitor = Monitor(self._runtimes, self._catalog, self._journal, self._gpu_sampler)
        unsubscribe = monitor.subscribe(take)
        monitor.open()
        complete.wait(SURVEY_LIMIT_S)
        unsubscribe()
        monitor.close()
        return latest[-1]

    def perform(
        self,
        action: Action,
        name: str,
        *,
        runtime: str | None = None,
        wait: bool = True,
        timeout_s: float | None = None,
        force: bool = False,
        progress: Callable[[OperationStatus], None] | None = None,
    ) -> OperationStatus:
        """As `Conductor.run`."""
        return self._conductor.run(
            action,
            name,
            runtime=runtime,
            wait=wait,
            timeout_s=timeout_s,
            force=force,
            progress=progress or (lambda _: None),
        )

    def read_log(
        self, name: str, *, tail: int | None, follow: bool, since: float | None = None
    ) -> Generator[LogLine, None, None]:
        """Lines as they come; closing the generator closes the log. Raises `EngineError`."""
        return read_lines(self._conductor.require(name)[0], name, tail=tail, follow=follow, since=since)

    def scrape(self, name: str) -> MetricsReading:
        """Two scrapes a second apart, so that rates exist. Raises `EngineError` when the endpoint gives none."""
        service = self._conductor.require(name)[1].service
        if not service.metrics:
            raise InvalidProfile(f"{name} exposes no metrics.", "Add `metrics` under `expose` in its profile.")
        return asyncio.run(_scrape_twice(service.metrics))

    def gpus(self) -> GpuReading:
        return self._gpu_sampler.sample()

    def ask_blocking(self, name: str, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> PromptResult:
        """Blocks until the prompt has ended; KeyboardInterrupt cancels it."""
        ended = threading.Event()
        results: list[PromptResult] = []
        service = self._conductor.require(name)[1].service

        def take(event: PromptEvent) -> None:
            on_event(event)
            if isinstance(event, PromptResult):
                results.append(event)
                ended.set()

        cancel = self._prompts.ask(service, request, take)
        try:
            ended.wait()
        except KeyboardInterrupt:
            cancel()
            ended.wait(timeout=2.0)
        return results[0] if results else PromptResult(request, PromptOutcome.CANCELLED, "")


async def _scrape_twice(url: str) -> MetricsReading:
    tracker = MetricsTracker(url)
    async with new_client() as client:
        for pause in (SCRAPE_APART_S, 0.0):
            tracker.update(await scrape(client, url), time.time())
            await asyncio.sleep(pause)
    return tracker.reading(time.time())
