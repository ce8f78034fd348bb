"""Draining, sleeping and waking the real vLLM.

On the CPU its engine stops taking requests and says that it sleeps, and its worker leaves the memory as it is (0.32,
v1/worker/cpu_worker.py): all but the memory is real here.
"""

import re
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine.deployment import Lifecycle, Service
from engine.observe.probe import asleep
from engine.operations import fast
from engine.operations.drain import drain, drained_by
from engine.operations.waiting import Waiting
from engine.profile import Expose, Profile
from engine.runtimes.process import ProcessRuntime
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from tests.real.triton_support import free_ports, kill_all, of, settings_in, text_of, wait_until
from tests.real.vllm_support import LocalVllm, engine_of, first_in_line

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]


@pytest.fixture
def vllm(tmp_path: Path, local_vllm: LocalVllm) -> Iterator[Service]:
    settings = settings_in(tmp_path)
    name = f"sleeper-{secrets.token_hex(4)}"
    profile = Profile(
        name=name,
        stack="vllm",
        model=str(local_vllm.model),
        program=str(local_vllm.program),
        engine={"dtype": "bfloat16", "max_model_len": 2048, "enforce_eager": True, "max_num_seqs": 2},
        env={
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CACHE_ROOT": str(tmp_path / "vllm"),
            "VLLM_SERVER_DEV_MODE": "1",
        },
        expose=Expose(http=free_ports(1)[0]),
    )
    launch = STACKS["vllm"](PlanContext(profile, tmp_path / "p.yaml", "", "process", settings)).launch
    runtime = ProcessRuntime(settings)

    def ready() -> bool:
        assert of(runtime, name).lifecycle is Lifecycle.RUNNING, text_of(runtime, name)
        try:
            return httpx.get(launch.service.health, timeout=1).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    try:
        runtime.create(launch)
        runtime.start(name)
        wait_until(ready, "vLLM is ready", 400)
        yield launch.service
        runtime.stop(name, 45)
    finally:
        kill_all(settings)


def test_it_is_drained_put_to_sleep_and_woken(vllm: Service) -> None:
    def complete(tokens: int) -> int:
        question = {"model": vllm.model, "prompt": "The", "max_tokens": tokens, "ignore_eos": True}
        answer = httpx.post(f"{vllm.http}/v1/completions", json=question, timeout=120)
        return int(answer.json()["usage"]["completion_tokens"])

    assert complete(1) == 1, "the first one compiles, for as long as that takes"
    assert drained_by(vllm) == "vllm:num_requests_running"
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(complete(600)), daemon=True) for _ in range(8)]
    engine, shown = engine_of(vllm.http), list[str]()

    def two_run() -> str:
        """A server whose tokens come as fast as they can answers nobody who looks on: its engine is held meanwhile."""
        engine.resume()
        time.sleep(0.01)
        engine.suspend()
        return _line(vllm, "num_requests_running{", "2.0")

    def show(said: str) -> None:
        shown.append(said)
        engine.resume()

    engine.suspend()  # the first must not have been answered before the last is sent
    try:
        for thread in threads:
            thread.start()
        with first_in_line():
            wait_until(two_run, "two run, the others wait")
        said = drain(vllm, Waiting(show), 120)
    finally:
        engine.resume()
    assert said.startswith("no requests under way")
    assert re.match(r"\d requests under way, \d", shown[0])
    for thread in threads:
        thread.join(60)
    assert counts == [600] * 8

    deadline = time.monotonic() + 60
    assert not fast.sleeps(vllm)
    assert asleep(httpx.get(vllm.metrics or "").text) is False
    assert fast.put_to_sleep(vllm, Waiting(), deadline) == "asleep"
    assert fast.sleeps(vllm)
    assert asleep(httpx.get(vllm.metrics or "").text) is True
    assert httpx.get(vllm.health).status_code == httpx.codes.OK, "which tells nothing of it"
    assert fast.wake(vllm, Waiting(), deadline) == "awake"
    assert asleep(httpx.get(vllm.metrics or "").text) is False
    assert complete(5) == 5


def _line(service: Service, name: str, value: str) -> str:
    text = httpx.get(service.metrics or "").text
    return next((line for line in text.splitlines() if name in line and line.endswith(f" {value}")), "")
