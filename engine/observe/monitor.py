"""Watches runtimes, servers, GPUs, profiles and the journal, each at its own pace, and publishes snapshots.

One thread with an event loop of its own. What blocks runs in threads beside it: one for each runtime, so that a hung
daemon delays nobody else.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.catalog import Catalog, CatalogReader
from engine.deployment import Deployment, Lifecycle, State, precedence
from engine.errors import EngineError
from engine.observe.aside import Source, aside, tend
from engine.observe.gpus import GpuSampler, aged
from engine.observe.metrics import MetricsTracker, scrape
from engine.observe.probe import Health, Probe, new_client, probe
from engine.observe.state import judge
from engine.runtimes.base import Runtime
from engine.snapshot import (
    Freshness,
    GpuReading,
    MetricsReading,
    Model,
    OperationStatus,
    Outcome,
    RuntimeStatus,
    Snapshot,
)
from engine.store import Journal
from engine.text import clean_line

if TYPE_CHECKING:
    import httpx

PUBLISH_EVERY_S = 0.1
CATALOG_EVERY_S = 2.0
RUNTIME_EVERY_S = 5.0
"""Events bring changes at once; this is for those that get lost"""
RETRY_EVERY_S = 2.0
PROBE_EVERY_S = 1.0
PROBE_READY_EVERY_S = 2.0
SCRAPE_EVERY_S = 1.0
SMALL_EXPOSITION = 1 << 17
"""Characters that are read in less time than it takes to hand them to another thread"""
GPU_EVERY_S = 1.0
JOURNAL_EVERY_S = 1.0
ENDED_OPERATIONS = 20

Key = tuple[str, str, str, float | None]
"""One run of one deployment: runtime, name, id, start"""


class _Run:
    """What is known of one run of a deployment beyond what its runtime says."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.probe: Probe | None = None
        self.was_ready = False
        self.metrics = MetricsTracker(deployment.service.metrics or "")
        self.tasks: list[asyncio.Task[None]] = []


class Monitor:
    def __init__(
        self,
        runtimes: dict[str, Runtime],
        catalog: CatalogReader,
        journal: Journal,
        gpus: GpuSampler,
    ) -> None:
        self._runtimes = runtimes
        self._catalog_reader = catalog
        self._journal = journal
        self._gpu_sampler = gpus
        self._listeners: list[Callable[[Snapshot], None]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event
        self._nudges: dict[str, asyncio.Event] = {}
        self._catalog: Catalog | None = None
        self._deployments: dict[str, tuple[Deployment, ...]] = {}
        self._status: dict[str, RuntimeStatus] = {}
        self._runs: dict[Key, _Run] = {}
        self._operations: tuple[OperationStatus, ...] = ()
        self._journal_read = False
        self._gpus: GpuReading | None = None
        self._troubles: dict[str, str] = {}
        self._news = asyncio.Event()
        """There is something that the latest snapshot does not show"""
        self.latest = Snapshot(at=time.time(), hostname=clean_line(socket.gethostname()), loading=True)

    def open(self) -> None:
        self._thread = threading.Thread(target=self._main, name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._loop and self._thread:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(timeout=1.0)

    def subscribe(self, listener: Callable[[Snapshot], None]) -> Callable[[], None]:
        with self._lock:
            self._listeners.append(listener)
        listener(self.latest)

        def unsubscribe() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    def operation_changed(self, status: OperationStatus) -> None:
        """Told by operations of this program, so that their steps show at once. From any thread."""
        loop = self._loop
        if loop and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # closed between the question and the call
                loop.call_soon_threadsafe(self._take_operation, status)

    def metrics(self, name: str) -> MetricsReading:
        """From any thread."""
        for (_, run_name, _, _), run in list(self._runs.items()):
            if run_name == name:
                return run.metrics.reading(time.time())
        return MetricsReading(None, Freshness.NONE, message="It is not running: there are no metrics.")

    # -- the thread of its own ----------------------------------------------------------------------------------------

    def _main(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with new_client() as client:
            sources: list[Source] = [*self._sources(), partial(self._publish, client)]
            tasks = [self._begin(source) for source in sources]
            if not self._closing.is_set():
                await self._ended.wait()
            for run in self._runs.values():
                tasks += run.tasks
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, source: Source) -> asyncio.Task[None]:
        return asyncio.create_task(tend(source, self._troubles))

    def _sources(self) -> list[Source]:
        sources: list[Source] = [self._watch_catalog, self._watch_journal, self._watch_gpus]
        for runtime in self._runtimes.values():
            self._nudges[runtime.name] = asyncio.Event()
            sources += [partial(self._watch_runtime, runtime), partial(self._watch_events, runtime)]
        return sources

    async def _watch_catalog(self) -> None:
        while True:
            self._catalog = await aside(self._catalog_reader.load)
            self._news.set()
            await asyncio.sleep(CATALOG_EVERY_S)

    async def _watch_journal(self) -> None:
        while True:
            recent = await aside(self._journal.recent_if_changed)
            self._journal_read = True
            if recent is None:
                await asyncio.sleep(JOURNAL_EVERY_S)
                continue
            mine = {status.id: status for status in self._operations}
            # An operation of this program may have gone on since the journal was read.
            self._operations = tuple(
                known if (known := mine.get(status.id)) and known.outcome is not Outcome.RUNNING else status
                for status in recent
            )
            self._news.set()
            await asyncio.sleep(JOURNAL_EVERY_S)

    def _take_operation(self, status: OperationStatus) -> None:
        others = tuple(known for known in self._operations if known.id != status.id)
        self._operations = (status, *others) if others else (status,)
        self._operations = tuple(sorted(self._operations, key=lambda known: -known.began_at))
        self._news.set()
        for nudge in self._nudges.values():
            nudge.set()

    async def _watch_gpus(self) -> None:
        while True:
            sampling = asyncio.ensure_future(aside(self._gpu_sampler.sample))
            while True:
                done, _ = await asyncio.wait([sampling], timeout=GPU_EVERY_S)
                self._news.set()  # a driver that hangs makes the last reading stale
                if done:
                    break
            self._gpus = sampling.result()
            await asyncio.sleep(GPU_EVERY_S)

    async def _watch_runtime(self, runtime: Runtime) -> None:
        nudge = self._nudges[runtime.name]
        version = ""
        while True:
            nudge.clear()
            pause = RUNTIME_EVERY_S
            try:
                version = version or await aside(runtime.check)
                self._deployments[runtime.name] = await aside(runtime.deployments)
                self._note(runtime.name, reachable=True, detail=version)
            except EngineError as error:
                version = ""
                self._note(runtime.name, reachable=False, detail=str(error))
                pause = RETRY_EVERY_S
            self._news.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(nudge.wait(), pause)

    def _note(self, name: str, *, reachable: bool, detail: str) -> None:
        known = self._status.get(name)
        same = known is not None and known.reachable == reachable
        since = known.since if known and same else time.time()
        self._status[name] = RuntimeStatus(name, reachable, detail, since)

    async def _watch_events(self, runtime: Runtime) -> None:
        """A runtime's events hurry its next poll."""
        loop, nudge = asyncio.get_running_loop(), self._nudges[runtime.name]

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(nudge.set)

        while True:
            with contextlib.suppress(EngineError):  # the poll reports it, with the sentence
                await aside(runtime.watch, changed, self._closing)
            nudge.set()
            await asyncio.sleep(RETRY_EVERY_S)

    # -- what is known of each run ------------------------------------------------------------------------------------

    async def _publish(self, client: "httpx.AsyncClient") -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            self._follow_runs(client)
            snapshot = self._picture()
            if replace(snapshot, at=0.0) != replace(self.latest, at=0.0):
                self.latest = snapshot
                with self._lock:
                    listeners = tuple(self._listeners)
                for listener in listeners:
                    listener(snapshot)
            await asyncio.sleep(PUBLISH_EVERY_S)

    def _follow_runs(self, client: "httpx.AsyncClient") -> None:
        """Begins to probe and scrape what has started, and ends it for what has gone."""
        running = {
            (d.runtime, d.name, d.id, d.started_at): d
            for deployments in self._deployments.values()
            for d in deployments
            if d.lifecycle is Lifecycle.RUNNING
        }
        for key in self._runs.keys() - running.keys():
            for task in self._runs.pop(key).tasks:
                task.cancel()
        for key, deployment in running.items():
            if key in self._runs:
                self._runs[key].deployment = deployment
                continue
            run = self._runs[key] = _Run(deployment)
            run.tasks.append(self._begin(partial(self._probe, client, run)))
            if deployment.service.metrics:
                run.tasks.append(self._begin(partial(self._scrape, client, run)))

    async def _probe(self, client: "httpx.AsyncClient", run: _Run) -> None:
        while True:
            answer = await probe(client, run.deployment.service.health)
            if answer != run.probe:
                self._news.set()
            run.probe = answer
            run.was_ready = run.was_ready or answer.health is Health.READY
            await asyncio.sleep(PROBE_READY_EVERY_S if answer.health is Health.READY else PROBE_EVERY_S)

    async def _scrape(self, client: "httpx.AsyncClient", run: _Run) -> None:
        url = run.deployment.service.metrics or ""
        while True:
            try:
                text = await scrape(client, url)
                if len(text) <= SMALL_EXPOSITION:
                    run.metrics.update(text, time.time())
                else:
                    await asyncio.to_thread(run.metrics.update, text, time.time())
            except EngineError as error:
                run.metrics.failed(str(error), time.time())
            await asyncio.sleep(SCRAPE_EVERY_S)

    # -- the picture --------------------------------------------------------------------------------------------------

    def _picture(self) -> Snapshot:
        now = time.time()
        catalog = self._catalog
        models = {deployment.name: self._deployed(deployment, now) for deployment in self._newest()}
        order = list(catalog.entries) if catalog else []
        for name, entry in (catalog.entries if catalog else {}).items():
            known = models.get(name)
            profile = entry.profile
            if known:
                known = replace(known, summary=profile.summary, has_profile=True)
            else:
                known = Model(name, State.ABSENT, profile.summary, profile.stack, profile.runtime)
            models[name] = replace(known, profile_path=clean_line(str(entry.path)))
        order += sorted(models.keys() - set(order))
        loading = not (catalog and self._journal_read and self._gpus and len(self._status) == len(self._runtimes))
        return Snapshot(
            at=now,
            hostname=self.latest.hostname,
            loading=loading,
            models=tuple(models[name] for name in order),
            problems=catalog.problems if catalog else (),
            runtimes=tuple(self._status[name] for name in self._runtimes if name in self._status),
            operations=self._operations[:ENDED_OPERATIONS],
            gpus=aged(self._gpus, now) if self._gpus else None,
            trouble=next(iter(self._troubles.values()), self._journal.problem),
        )

    def _newest(self) -> list[Deployment]:
        """One for each name."""
        every = [deployment for deployments in self._deployments.values() for deployment in deployments]
        every.sort(key=precedence)
        return list({deployment.name: deployment for deployment in every}.values())

    def _deployed(self, deployment: Deployment, now: float) -> Model:
        run = self._runs.get((deployment.runtime, deployment.name, deployment.id, deployment.started_at))
        operations = tuple(status for status in self._operations if status.target == deployment.name)
        verdict = judge(
            deployment, run.probe if run else None, operations, now, was_ready=run.was_ready if run else False
        )
        status = self._status.get(deployment.runtime)
        stale = status.since if status and not status.reachable else None
        return Model(
            name=deployment.name,
            state=verdict.state,
            stack=deployment.stack,
            runtime=deployment.runtime,
            detail=verdict.detail,
            since=verdict.since,
            has_profile=False,
            deployment=deployment,
            stale_since=stale,
        )
