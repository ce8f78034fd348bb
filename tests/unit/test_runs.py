"""Whether what answers where a deployment was to answer is that deployment."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from engine.deployment import Deployment, State
from engine.errors import RuntimeUnreachable
from engine.freshness import Freshness
from engine.observe import runs as module
from engine.observe.aside import Source
from engine.observe.probe import Health, Probe
from engine.observe.runs import Run, Runs
from engine.observe.state import judge
from tests.unit.monitor_bench import Server, running, server

__all__ = ["server"]  # the fixture

THEIRS = "port 8000 is used by python3 (pid 77)"


@dataclass
class Following:
    """Runs of one deployment; who listens is the test's to say."""

    deployment: Deployment
    told: str = ""
    error: RuntimeUnreachable | None = None
    asked: list[str] = field(default_factory=list)

    def stranger(self, deployment: Deployment) -> str:
        self.asked.append(deployment.name)
        if self.error:
            raise self.error
        return self.told

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Run]:
        def begin(source: Source) -> asyncio.Task[None]:
            return asyncio.create_task(source())

        runs = Runs(begin, lambda: None, stranger=self.stranger)
        runs.follow([self.deployment])
        run = runs.of(self.deployment)
        assert run
        yield run
        runs.follow([])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (what is waited for is another task's)
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROBE_EVERY_S", "PROBE_READY_EVERY_S", "SCRAPE_EVERY_S"):
        monkeypatch.setattr(module, name, 0.01)


def health(run: Run) -> Health | None:
    return run.probe.health if run.probe else None


async def test_what_a_stranger_answers_is_not_the_models(server: Server) -> None:
    following = Following(running(server.service), told=THEIRS)
    async with following.run() as run:
        await until(lambda: run.probe is not None)
        assert run.probe == Probe(Health.STRANGER, f"{THEIRS}, which is none of its processes")
        assert (run.was_ready, run.answered_at) == (False, None)
        await until(lambda: run.metrics.reading(time.time()).freshness is not Freshness.LOADING)
        metrics = run.metrics.reading(time.time())
        assert (metrics.freshness, metrics.series) == (Freshness.FAILED, ())
        assert THEIRS in metrics.message
    verdict = judge(following.deployment, run.probe, (), following.deployment.created_at + 1, was_ready=False)
    assert (verdict.state, verdict.detail) == (State.UNREACHABLE, f"{THEIRS}, which is none of its processes")


async def test_who_listens_is_looked_up_once_and_then_now_and_then(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    following = Following(running(server.service))
    async with following.run() as run:
        await until(lambda: health(run) is Health.READY)
        first = run.answered_at or 0.0
        await until(lambda: (run.answered_at or 0.0) > first + 0.1)
        assert following.asked == ["m"]
        # Its own listener may go, and another's come.
        monkeypatch.setattr(module, "STRANGER_EVERY_S", 0.02)
        run.own_until = 0.0
        following.told = THEIRS
        await until(lambda: health(run) is Health.STRANGER)
        following.told = ""
        await until(lambda: health(run) is Health.READY)


async def test_where_nobody_listens_nothing_is_looked_up(server: Server) -> None:
    server.http.server_close()
    server.http.shutdown()
    following = Following(running(server.service))
    async with following.run() as run:
        await until(lambda: health(run) is Health.REFUSED)
        assert following.asked == []


async def test_that_it_cannot_be_told_who_listens_hides_no_answer(server: Server) -> None:
    following = Following(running(server.service), error=RuntimeUnreachable("Docker does not answer."))
    async with following.run() as run:
        await until(lambda: health(run) is Health.READY)
        assert following.asked == ["m"]
