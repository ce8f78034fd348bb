"""What is known of each run of a deployment beyond what its runtime says: whether it answers, and its metrics."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from engine.deployment import Deployment, Lifecycle
from engine.errors import EngineError
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading
from engine.observe.aside import Source
from engine.observe.metrics import MetricsTracker, scrape
from engine.observe.probe import Health, Probe, asleep, probe

if TYPE_CHECKING:
    import httpx

PROBE_EVERY_S = 1.0
PROBE_READY_EVERY_S = 2.0
SCRAPE_EVERY_S = 1.0
SMALL_EXPOSITION = 1 << 17
"""Characters that are read in less time than it takes to hand them to another thread"""

Key = tuple[str, str, str, float | None]
"""One run of one deployment: runtime, name, id, start"""


class Run:
    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.probe: Probe | None = None
        self.was_ready = False
        self.asleep = False
        self.metrics = MetricsTracker(deployment.service.metrics or "")
        self.tasks: list[asyncio.Task[None]] = []


class Runs:
    """For one event loop; `metrics` is for any thread."""

    def __init__(self, begin: Callable[[Source], asyncio.Task[None]], changed: Callable[[], None]) -> None:
        """`begin`: makes a task of what is not to end. `changed`: told when something differs that is shown."""
        self._begin = begin
        self._changed = changed
        self._runs: dict[Key, Run] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        return [task for run in self._runs.values() for task in run.tasks]

    def of(self, deployment: Deployment) -> Run | None:
        return self._runs.get(_key(deployment))

    def metrics(self, name: str) -> MetricsReading:
        for (_, run_name, _, _), run in list(self._runs.items()):
            if run_name == name:
                return run.metrics.reading(time.time())
        return MetricsReading(None, Freshness.NONE, message="It is not running: there are no metrics.")

    def follow(self, client: "httpx.AsyncClient", deployments: Iterable[Deployment]) -> None:
        """Begins to probe and scrape what has started, and ends it for what has gone."""
        running = {_key(one): one for one in deployments if one.lifecycle is Lifecycle.RUNNING}
        for key in self._runs.keys() - running.keys():
            for task in self._runs.pop(key).tasks:
                task.cancel()
        for key, deployment in running.items():
            if key in self._runs:
                self._runs[key].deployment = deployment
                continue
            run = self._runs[key] = Run(deployment)
            if deployment.service.health:
                run.tasks.append(self._begin(partial(self._probe, client, run)))
            if deployment.service.metrics:
                run.tasks.append(self._begin(partial(self._scrape, client, run)))

    async def _probe(self, client: "httpx.AsyncClient", run: Run) -> None:
        while True:
            answer = await probe(client, run.deployment.service.health)
            if answer != run.probe:
                self._changed()
            run.probe = answer
            run.was_ready = run.was_ready or answer.health is Health.READY
            await asyncio.sleep(PROBE_READY_EVERY_S if answer.health is Health.READY else PROBE_EVERY_S)

    async def _scrape(self, client: "httpx.AsyncClient", run: Run) -> None:
        url = run.deployment.service.metrics or ""
        while True:
            try:
                text = await scrape(client, url)
                if len(text) <= SMALL_EXPOSITION:
                    run.metrics.update(text, time.time())
                    sleeps = asleep(text)
                else:
                    await asyncio.to_thread(run.metrics.update, text, time.time())
                    sleeps = await asyncio.to_thread(asleep, text)
            except EngineError as error:
                run.metrics.failed(str(error), time.time())
            else:
                if bool(sleeps) != run.asleep:
                    run.asleep = bool(sleeps)
                    self._changed()
            await asyncio.sleep(SCRAPE_EVERY_S)


def _key(deployment: Deployment) -> Key:
    return deployment.runtime, deployment.name, deployment.id, deployment.started_at
