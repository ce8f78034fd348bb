"""What is known of each run of a deployment beyond what its runtime says: whether it answers, and its metrics."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

from engine.deployment import Deployment, Lifecycle
from engine.errors import EngineError, NotFound
from engine.freshness import Freshness
from engine.metrics_reading import Family, MetricsReading
from engine.observe.aside import Source, aside
from engine.observe.metric_families import with_pins
from engine.observe.metric_history import History
from engine.observe.metrics import STALE_AFTER_S, GpuFigures, MetricsTracker
from engine.observe.pace import Pace
from engine.observe.probe import Health, Probe, asleep, probe
from engine.observe.scrape import scrape
from engine.observe.timeline import Timeline
from engine.text import clean_line

PROBE_EVERY_S = 1.0
PROBE_READY_EVERY_S = 2.0
SCRAPE_EVERY_S = 1.0
DESCRIBE_EVERY_S = 10.0
STRANGER_EVERY_S = 30.0
"""All of the machine's sockets are looked through"""
STARTS_KEPT = 50
"""Of one deployment; one that is restarted over and over has not begun more often within what is shown"""
PINS_S = 0.5
"""Scraping waits no longer for what is pinned: another program may hold the file"""
REST = 5
"""Reading all that is scraped takes one part in so many of a processor at most; then scrapes are further apart"""
LONGEST_REST_S = 30.0
SMALL_EXPOSITION = 1 << 17
"""Characters that are read in less time than it takes to hand them to another thread, if they are what they were"""
QUICK_S = 0.01

Key = tuple[str, str, str, float | None]
"""One run of one deployment: runtime, name, id, start"""


class Run:
    def __init__(self, deployment: Deployment, number: int = 0) -> None:
        self.deployment = deployment
        self.number = number
        """As many had been followed before it"""
        self.probe: Probe | None = None
        self.probed_at = 0.0
        """When that was begun"""
        self.probed = asyncio.Event()
        self.was_ready = False
        self.answered_at: float | None = None
        """When its health endpoint said last that it is ready"""
        self.own_until = 0.0
        """Until when (of the monotonic clock) who listens there is not looked up again"""
        self.stranger = ""
        """What listens where it was to answer, as it was looked up last"""
        self.asleep = False
        self.metrics = MetricsTracker(deployment.service.metrics or "")
        self.spent_s = 0.0
        """Processor time that it took to read what it answered last"""
        self.reads = 0
        self.described_at = 0.0
        """When the history was told last what its figures mean"""
        self.tasks: list[asyncio.Task[None]] = []


class Runs:
    """For one event loop; `metrics`, `families`, `pin` and `starts` are for any thread."""

    def __init__(
        self,
        begin: Callable[[Source], asyncio.Task[None]],
        changed: Callable[[], None],
        history: History | None = None,
        stranger: Callable[[Deployment], str] | None = None,
    ) -> None:
        """`begin`: makes a task of what is not to end. `changed`: told when something differs that is shown.

        `history`: where metrics outlive a run. `stranger`: as `Runtime.stranger`; it blocks.
        """
        self._begin = begin
        self._changed = changed
        self._history = history
        self._stranger = stranger
        self._runs: dict[Key, Run] = {}
        self._starts: dict[str, tuple[float, ...]] = {}
        self._followed = 0
        self._reading = asyncio.Lock()
        """One thread at a time reads what takes long: several would leave little of the processor to this loop"""

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [task for run in self._runs.values() for task in run.tasks]

    def of(self, deployment: Deployment) -> Run | None:
        return self._runs.get(_key(deployment))

    def metrics(self, name: str) -> MetricsReading:
        run = self._named(name)
        if run:
            return run.metrics.reading(time.time())
        past = self._history.past(name) if self._history else ()
        if not past:
            return MetricsReading(None, Freshness.NONE, message="It is not running: there are no metrics.")
        known = (at for one in past for at, value in zip(one.times, one.values, strict=True) if value is not None)
        last = max(known)
        message = f"It is not running: this is what it said until {time.strftime('%H:%M:%S', time.localtime(last))}."
        return MetricsReading(last, Freshness.STALE, message=message, series=past)

    def starts(self, name: str) -> tuple[float, ...]:
        """When its runs began that have been seen here, oldest first."""
        return self._starts.get(name, ())

    def families(self, name: str) -> tuple[Family, ...]:
        run = self._named(name)
        if run:
            return run.metrics.families()
        pins = self._history.known_pins(name) if self._history else None
        return with_pins((), pins or frozenset())

    def pin(self, name: str, family: str, *, pinned: bool) -> None:
        """Raises `NotFound` when a family is to be pinned that is not reported."""
        run = self._named(name)
        if run:
            run.metrics.pin(family, pinned=pinned)
        elif pinned:
            raise NotFound(f"{clean_line(name)} is not running: it reports no metrics.")
        if self._history:
            self._history.set_pin(name, family, pinned=pinned)

    def gpus(self, now: float) -> dict[str, tuple[GpuFigures, ...]]:
        """By deployment, what its metrics tell of GPUs at present; only of those whose metrics tell of any."""
        found = {}
        for (_, name, _, _), run in self._runs.items():
            at = run.metrics.succeeded_at
            if at is not None and abs(now - at) <= STALE_AFTER_S and (figures := run.metrics.gpus()):
                found[name] = figures
        return found

    def _named(self, name: str) -> Run | None:
        return next((run for (_, of, _, _), run in list(self._runs.items()) if of == name), None)

    def follow(self, deployments: Iterable[Deployment]) -> None:
        """Begins to probe and scrape what has started, and ends it for what has gone."""
        running = {_key(one): one for one in deployments if one.lifecycle is Lifecycle.RUNNING}
        for key in self._runs.keys() - running.keys():
            for task in self._runs.pop(key).tasks:
                task.cancel()
        for key, deployment in running.items():
            if key in self._runs:
                self._runs[key].deployment = deployment
                continue
            run = self._runs[key] = Run(deployment, self._followed)
            self._followed += 1
            if deployment.started_at is not None:
                starts = {*self.starts(deployment.name), deployment.started_at}
                self._starts[deployment.name] = tuple(sorted(starts)[-STARTS_KEPT:])
            if deployment.service.health:
                run.tasks.append(self._begin(partial(self._probe, run)))
            if deployment.service.metrics:
                run.tasks.append(self._begin(partial(self._scrape, run)))

    async def _probe(self, run: Run) -> None:
        pace = Pace(run.number)
        while True:
            began = time.time()
            answer = await self._of_its_own(run, await probe(run.deployment.service.health))
            if answer != run.probe:
                self._changed()
            run.probe, run.probed_at = answer, began
            run.probed.set()
            if answer.health is Health.READY:
                run.was_ready, run.answered_at = True, time.time()
            await pace.rest(PROBE_READY_EVERY_S if answer.health is Health.READY else PROBE_EVERY_S)

    async def _of_its_own(self, run: Run, answer: Probe) -> Probe:
        """That nobody listens is looked up by the probe; that somebody does, may be anybody."""
        if self._stranger is None or answer.health is Health.REFUSED:
            run.stranger, run.own_until = "", 0.0
            return answer
        if time.monotonic() >= run.own_until:
            try:
                run.stranger = await aside(self._stranger, run.deployment)
            except EngineError:  # its runtime's own status says why
                run.stranger = ""
            run.own_until = time.monotonic() + STRANGER_EVERY_S
        return Probe(Health.STRANGER, f"{run.stranger}, which is none of its processes") if run.stranger else answer

    async def _scrape(self, run: Run) -> None:
        url, name = run.deployment.service.metrics or "", run.deployment.name
        history = self._history
        if run.deployment.service.health:
            await run.probed.wait()  # what a stranger tells is not to be taken for its own
        if history and run.metrics.succeeded_at is None:
            # Not wait_for, which swallows a cancellation when what it waits for is done in the same moment.
            await asyncio.wait([asyncio.ensure_future(aside(history.pins, name))], timeout=PINS_S)
            timeline = history.timeline(name)
            if any(one is not run and one.metrics.timeline is timeline for one in self._runs.values()):
                timeline = Timeline()  # another runtime has one of that name, too
            run.metrics = MetricsTracker(url, timeline=timeline)
        pins_known, pace = False, Pace(run.number)
        while True:
            if history and not pins_known and (pins := history.known_pins(name)) is not None:
                run.metrics.also_pin(pins)
                pins_known = True
            reads = run.reads
            if run.stranger:
                run.metrics.failed(f"Its metrics cannot be read: {run.stranger}.", time.time())
                await pace.rest(SCRAPE_EVERY_S)
                continue
            try:
                text = await scrape(url)
                if run.reads and run.spent_s < QUICK_S and len(text) <= SMALL_EXPOSITION:
                    sleeps = _read(run, text)
                else:
                    async with self._reading:
                        sleeps = await aside(_read, run, text)
            except EngineError as error:
                run.metrics.failed(str(error), time.time())
            else:
                if history and time.time() - run.described_at >= DESCRIBE_EVERY_S:
                    run.described_at = time.time()
                    history.describe(name, run.metrics.current(run.described_at).series)
                if bool(sleeps) != run.asleep:
                    run.asleep = bool(sleeps)
                    self._changed()
            # What is read first is all new, and takes longer than what comes after it.
            spent_s = run.spent_s if run.reads > max(reads, 1) else 0.0
            rest = min(LONGEST_REST_S, REST * spent_s * len(self._runs))
            run.metrics.paced(rest if rest > STALE_AFTER_S else 0.0)
            await pace.rest(max(SCRAPE_EVERY_S, rest))


def _read(run: Run, text: str) -> bool | None:
    """Whether it sleeps, if that is told. Raises `MetricsError`."""
    began = time.thread_time()
    try:
        run.metrics.update(text, time.time())
        return asleep(text)
    finally:
        run.spent_s = time.thread_time() - began
        run.reads += 1


def _key(deployment: Deployment) -> Key:
    return deployment.runtime, deployment.name, deployment.id, deployment.started_at
