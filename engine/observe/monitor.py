"""Watches runtimes, servers, GPUs, profiles and the journal, each at its own pace, and publishes snapshots.

One thread with an event loop of its own. What blocks runs in threads beside it: one for each runtime, so that a hung
daemon delays nobody else.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.catalog import CatalogReader
from engine.deployment import State
from engine.errors import EngineError
from engine.freshness import Freshness
from engine.metrics_reading import Family, MetricsReading, Series
from engine.observe.aside import Source, aside, tend
from engine.observe.causes import Causes
from engine.observe.comparison import Comparisons
from engine.observe.drift import History, Planned
from engine.observe.gpu_around import gather
from engine.observe.gpu_watch import GpuWatch
from engine.observe.gpus import GpuSampler
from engine.observe.metric_history import History as MetricHistory
from engine.observe.one_look import at_a_glance, wants_another
from engine.observe.operations_seen import OperationsSeen
from engine.observe.pace import Pace
from engine.observe.picture import Known, picture
from engine.observe.plans_asked import PlansAsked
from engine.observe.runs import Run, Runs
from engine.observe.startups import Startups
from engine.observe.watch import Watches
from engine.runtimes.base import Runtime
from engine.snapshot import LeaseStatus, OperationStatus, RuntimeStatus, Snapshot
from engine.store import Journal
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.deployment import Deployment
    from engine.diagnosis import Diagnosis
    from engine.launches import Phases
    from engine.observe.canary import Ask
    from engine.plan import Plan

PUBLISH_EVERY_S = 0.1
CATALOG_EVERY_S = 2.0
RUNTIME_EVERY_S = 5.0
"""Events bring changes at once; this is for those that get lost"""
RETRY_EVERY_S = 2.0
GPU_EVERY_S = 1.0
LEASE_HELD_EVERY_S = 1.0
WATCH_EVERY_S = 1.0
METRICS_LOOK_S = 0.02


class Monitor:
    def __init__(
        self,
        runtimes: dict[str, Runtime],
        catalog: CatalogReader,
        journal: Journal,
        gpus: GpuSampler,
        *,
        plan: "Callable[[str, str | None], Plan] | None" = None,
        history: History | None = None,
        usual: "Callable[[Deployment], Phases] | None" = None,
        diagnose: "Callable[[Deployment], Diagnosis] | None" = None,
        lease: Callable[[], LeaseStatus | None] | None = None,
        ask: "Ask | None" = None,
        metrics: MetricHistory | None = None,
        kept: Callable[[], str] = lambda: "",
        read_only: str = "",
    ) -> None:
        """`plan`: of a profile on a runtime; without it nothing is told of drift. `history`: for estimates.

        `usual`: the phases of past starts; without it starts are not followed. `diagnose`: why one failed.
        `ask`: sends a prompt, for the canaries of profiles that want one. `metrics`: where they outlive a run.
        `kept`: what is wrong with other histories; empty when all is well. It must not block.
        """
        self._runtimes = runtimes
        self._catalog_reader = catalog
        self._journal = journal
        self._gpus = GpuWatch(gpus, history=metrics)
        self._ask_lease = lease
        self._listeners: list[Callable[[Snapshot], None]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event
        self._nudges: dict[str, asyncio.Event] = {}
        self._lease_nudge = asyncio.Event()
        self._news = asyncio.Event()
        """There is something that the latest snapshot does not show"""
        self._surveyed = asyncio.Event()
        """What there is, has been seen once: profiles and deployments"""
        self._troubles: dict[str, str] = {}
        self._awaited = {"journal", *(["lease"] if lease else []), *(["plans"] if plan else [])}
        """Which of those have not reported yet"""
        self._metric_history = metrics
        self._kept = kept
        self._runs = Runs(self._begin, self._news.set, metrics, lambda one: runtimes[one.runtime].stranger(one.name))
        self._comparisons = Comparisons(metrics, self._runs, lambda: self._known.operations)
        hostname = clean_line(socket.gethostname())
        self._follows_starts = usual is not None
        self._startups = Startups(runtimes, usual, self._told_of_start)
        planned = Planned(plan, history)
        self._causes = Causes(diagnose) if diagnose else None
        self._watches = Watches(ask)
        facts = (hostname, self._runs, planned, self._startups, self._watches)
        self._known = Known(*facts, self._causes, tuple(runtimes), read_only)
        self._operations = OperationsSeen(journal, self._operations_changed, self._world_moved)
        told = partial(self._reported, "plans")
        self._plans = PlansAsked(self._known, runtimes, history, changed=self._news.set, reported=told)
        self.latest = Snapshot(at=time.time(), hostname=hostname, loading=True, read_only=read_only)

    def open(self) -> None:
        if self._metric_history:
            self._metric_history.open()
        self._thread = threading.Thread(target=self._main, name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._loop and self._thread:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself meanwhile
                self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(timeout=0.6)
        if self._metric_history:
            self._metric_history.close()

    def subscribe(self, listener: Callable[[Snapshot], None]) -> Callable[[], None]:
        with self._lock:
            self._listeners.append(listener)
        listener(self.latest)

        def unsubscribe() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    def operation_changed(self, status: OperationStatus) -> None:
        """Told of operations that this program began, so that their steps show at once. From any thread."""
        loop = self._loop
        if loop and not loop.is_closed():
            with contextlib.suppress(RuntimeError):  # closed between the question and the call
                loop.call_soon_threadsafe(self._operations.take, status)

    def metrics(self, name: str) -> MetricsReading:
        """From any thread."""
        return self._comparisons.told(name, self._runs.metrics(name))

    def gpu_history(self, index: int) -> Sequence[Series]:
        """From any thread."""
        return self._gpus.history(index)

    def wait_for_metrics(self, at_most_s: float) -> None:
        """Blocks until each that is ready has answered what its metrics are, or has not in time.

        Once, or more often where one of its limits is of what is counted, and something has been.
        """
        from engine.profile import Watch

        deadline, limits, defaults = time.monotonic() + at_most_s, self._known.limits, Watch()

        def lacks(run: Run | None, watch: Watch) -> bool:
            fresh = run.metrics.current(time.time()).freshness if run else Freshness.NONE
            return fresh is Freshness.LOADING or (run is not None and wants_another(watch, run))

        while time.monotonic() < deadline and any(
            lacks(self._runs.of(model.deployment), limits.get(model.name) or defaults)
            for model in self.latest.models
            if model.state is State.READY and model.deployment and model.deployment.service.metrics
        ):
            time.sleep(METRICS_LOOK_S)

    def at_a_glance(self, snapshot: Snapshot, kept: MetricHistory) -> Snapshot:
        """With the notices that need no watching for a while. `kept`: by consoles. Blocks shortly."""
        return at_a_glance(snapshot, self._known.limits, self._runs.of, self._known.busy, kept)

    def families(self, name: str) -> tuple[Family, ...]:
        """From any thread."""
        return self._runs.families(name)

    def pin(self, name: str, family: str, *, pinned: bool) -> None:
        """From any thread. Raises `NotFound` when a family is to be pinned that is not reported."""
        self._runs.pin(name, family, pinned=pinned)

    # -- the thread of its own ----------------------------------------------------------------------------------------

    def _main(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        sources: list[Source] = [*self._sources(), self._publish]
        tasks = [self._begin(source) for source in sources]
        if not self._closing.is_set():
            await self._ended.wait()
        self._startups.close()
        self._watches.close()
        tasks += self._runs.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, source: Source) -> asyncio.Task[None]:
        return asyncio.create_task(tend(source, self._troubles))

    def _sources(self) -> list[Source]:
        sources: list[Source] = [self._watch_catalog, self._watch_gpus, self._watch_over, self._startups.read]
        sources.append(partial(self._operations.follow, partial(self._reported, "journal")))
        for runtime in self._runtimes.values():
            self._nudges[runtime.name] = asyncio.Event()
            sources += [partial(self._watch_runtime, runtime), partial(self._watch_events, runtime)]
        if self._causes:
            sources.append(partial(self._causes.follow, self._news.set))
        if self._metric_history:
            sources.append(self._comparisons.keep)
        if self._ask_lease:
            sources.append(partial(self._watch_lease, self._ask_lease))
        if "plans" in self._awaited:
            sources.append(partial(self._plans.keep, self._surveyed))
        return sources

    def _reported(self, source: str) -> None:
        if source in self._awaited:
            self._awaited.remove(source)
            self._news.set()

    async def _watch_catalog(self) -> None:
        pace = Pace()
        while True:
            catalog = await aside(self._catalog_reader.load)
            if catalog != self._known.catalog:
                self._known.catalog = catalog
                self._news.set()
            await pace.rest(CATALOG_EVERY_S)

    def _operations_changed(self) -> None:
        self._known.operations = self._operations.shown
        self._news.set()

    def _world_moved(self) -> None:
        for nudge in (*self._nudges.values(), self._lease_nudge):
            nudge.set()

    async def _watch_gpus(self) -> None:
        pace = Pace()
        while True:
            known = self._known
            entries = known.catalog.entries if known.catalog else {}
            around = gather(known.every(), entries, known.planned.may_take(), self._runs.gpus(time.time()))
            sampling = asyncio.ensure_future(aside(self._gpus.read, around))
            while True:
                done, _ = await asyncio.wait([sampling], timeout=GPU_EVERY_S)
                self._news.set()  # a driver that hangs makes the last reading stale
                if done:
                    break
            known.gpus = sampling.result()
            await pace.rest(GPU_EVERY_S)

    async def _watch_runtime(self, runtime: Runtime) -> None:
        nudge = self._nudges[runtime.name]
        version, loop, foreign_at = "", asyncio.get_running_loop(), -RUNTIME_EVERY_S
        while True:
            nudge.clear()
            pause = RUNTIME_EVERY_S
            try:
                version = version or await aside(runtime.check)
                self._known.deployments[runtime.name] = await aside(runtime.deployments)
                if loop.time() - foreign_at >= RUNTIME_EVERY_S:  # events are of ours alone
                    foreign_at = loop.time()
                    self._known.foreign[runtime.name] = await aside(runtime.foreign)
                self._note(runtime.name, reachable=True, detail=version)
            except EngineError as error:
                version = ""
                self._note(runtime.name, reachable=False, detail=str(error))
                pause = RETRY_EVERY_S
            self._news.set()
            await _nudged(nudge, pause)

    def _note(self, name: str, *, reachable: bool, detail: str) -> None:
        known = self._known.status.get(name)
        same = known is not None and known.reachable == reachable
        since = known.since if known and same else time.time()
        self._known.status[name] = RuntimeStatus(name, reachable, detail, since)

    async def _watch_events(self, runtime: Runtime) -> None:
        """A runtime's events hurry its next poll, and the lease's."""
        loop, nudge = asyncio.get_running_loop(), self._nudges[runtime.name]

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(nudge.set)
                loop.call_soon_threadsafe(self._lease_nudge.set)

        while True:
            with contextlib.suppress(EngineError):  # the poll reports it, with the sentence
                await aside(runtime.watch, changed, self._closing)
            nudge.set()
            await asyncio.sleep(RETRY_EVERY_S)

    async def _watch_lease(self, ask: Callable[[], LeaseStatus | None]) -> None:
        while True:
            self._lease_nudge.clear()
            with contextlib.suppress(EngineError):  # the runtimes' own statuses say it
                lease = await aside(ask)
                if lease != self._known.lease:
                    self._known.lease = lease
                    self._news.set()
            self._reported("lease")
            await _nudged(self._lease_nudge, LEASE_HELD_EVERY_S if self._known.lease else RUNTIME_EVERY_S)

    # -- the watch ----------------------------------------------------------------------------------------------------

    async def _watch_over(self) -> None:
        pace = Pace()
        while True:
            known, models, now = self._known, self.latest.models, time.time()
            if self._watches.look(models, known.limits, self._runs.of, known.busy, now, leased=known.leased):
                self._news.set()
            await pace.rest(WATCH_EVERY_S)

    # -- the picture --------------------------------------------------------------------------------------------------

    async def _publish(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            if self._known.catalog and len(self._known.status) == len(self._runtimes):
                self._surveyed.set()
            self._runs.follow(self._known.every())
            snapshot = picture(self._known, loading=self._loading, trouble=self._trouble)
            if self._follows_starts:
                self._follow_starts(snapshot)
            if replace(snapshot, at=0.0) != replace(self.latest, at=0.0):
                self.latest = snapshot
                with self._lock:
                    listeners = tuple(self._listeners)
                for listener in listeners:
                    listener(snapshot)
            await asyncio.sleep(PUBLISH_EVERY_S)

    def _follow_starts(self, snapshot: Snapshot) -> None:
        """Of those that have been asked: until then one that has long been ready counts as starting, too."""
        catalog, runs = self._known.catalog, self._runs
        asked = [one for one in snapshot.models if one.deployment and (run := runs.of(one.deployment)) and run.probe]
        profiles = {name: entry.profile.model for name, entry in catalog.entries.items()} if catalog else {}
        self._startups.follow(asked, profiles)

    def _told_of_start(self) -> None:
        """From any thread."""
        if self._loop:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                self._loop.call_soon_threadsafe(self._news.set)

    @property
    def _loading(self) -> bool:
        return bool(self._awaited) or not (self._surveyed.is_set() and self._known.gpus)

    @property
    def _trouble(self) -> str:
        kept = self._metric_history.problem if self._metric_history else ""
        return next(iter(self._troubles.values()), self._journal.problem or kept or self._kept())


async def _nudged(nudge: asyncio.Event, at_most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await nudge.wait()
