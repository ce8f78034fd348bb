"""Each run that has ended is looked into once, beside the loop."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.diagnosis import Cause, Diagnosis, Weight
from engine.errors import RuntimeUnreachable
from engine.observe import causes
from engine.observe.causes import Causes

SERVICE = Service(Protocol.OPENAI, "http://127.0.0.1:8000", "http://127.0.0.1:8000/health")
FAILED = Deployment("m", "docker", "vllm", "c0ffee", "i:1", Lifecycle.EXITED, SERVICE, 1.0, 2.0, 3.0, 1)
OOM = Cause("oom", "out of GPU memory", "It is out of memory.", "Give it more.", Weight.CAUSE, ())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (what is waited for is another task's)
            await asyncio.sleep(0.005)


async def test_a_run_is_looked_into_once_and_each_new_one_again() -> None:
    asked: list[Deployment] = []
    news = 0
    loop_thread = threading.get_ident()

    def diagnose(deployment: Deployment) -> Diagnosis:
        assert threading.get_ident() != loop_thread
        asked.append(deployment)
        return Diagnosis((OOM,) if deployment.exit_code else ())

    def told() -> None:
        nonlocal news
        news += 1

    known = Causes(diagnose)
    following = asyncio.ensure_future(known.follow(told))
    assert known.of(FAILED) is None
    assert known.of(FAILED) is None
    await until(lambda: news == 1)
    assert known.of(FAILED) == known.of(FAILED) == Diagnosis((OOM,))
    again = replace(FAILED, started_at=5.0, finished_at=6.0, exit_code=0)
    assert known.of(again) is None
    await until(lambda: news == 2)
    assert known.of(again) == Diagnosis(())
    await asyncio.sleep(0.05)
    assert asked == [FAILED, again]
    following.cancel()


async def test_what_cannot_be_read_now_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causes, "RETRY_S", 0.01)
    tries: list[int] = []

    def diagnose(deployment: Deployment) -> Diagnosis:
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeUnreachable("Docker does not answer.")
        return Diagnosis((OOM,))

    known = Causes(diagnose)
    following = asyncio.ensure_future(known.follow(lambda: None))
    await until(lambda: known.of(FAILED) == Diagnosis((OOM,)))
    assert len(tries) == 3
    following.cancel()
