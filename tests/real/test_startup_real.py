"""The start of real servers, followed from its first line to its first answer."""

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from engine.deployment import Deployment, Lifecycle
from engine.observe.startup_watch import StartupWatch, read_beginning
from engine.profile import Expose, Profile
from engine.runtimes.process import ProcessRuntime
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from engine.startup import Phase, Startup
from tests.real.triton_support import demo_server, free_ports, kill_all, of, settings_in, text_of, wait_until
from tests.real.vllm_support import LocalVllm


@dataclass
class Followed:
    startup: Startup
    seen: list[tuple[Phase, ...]]
    """Its phases, each time that there was another one"""


def follow(runtime: ProcessRuntime, name: str, timeout_s: float) -> Followed:
    """Starts it, and watches until it answers."""
    runtime.start(name)
    deployment = of(runtime, name)
    seen: list[tuple[Phase, ...]] = []
    with closing(StartupWatch(runtime, deployment)) as watch:

        def answers() -> bool:
            assert of(runtime, name).lifecycle is Lifecycle.RUNNING, text_of(runtime, name)
            note(watch, seen)
            try:
                return httpx.get(deployment.service.health, timeout=1).status_code == httpx.codes.OK
            except httpx.TransportError:
                return False

        wait_until(answers, "it is ready", timeout_s)
        startup = watch.finish(time.time())
    seen.append(tuple(one.phase for one in startup.phases))
    return Followed(startup, seen)


def note(watch: StartupWatch, seen: list[tuple[Phase, ...]]) -> None:
    phases = tuple(one.phase for one in watch.startup().phases)
    if not seen or seen[-1] != phases:
        seen.append(phases)


def check(followed: Followed, deployment: Deployment) -> None:
    """What is so of every start."""
    startup = followed.startup
    for before, after in zip(followed.seen, followed.seen[1:], strict=False):
        assert after[: len(before)] == before, "no phase is taken back"
    assert startup.began_at == deployment.started_at
    assert startup.phases[-1].phase is Phase.READY
    assert startup.current is None
    for one, later in zip(startup.phases, startup.phases[1:], strict=False):
        assert one.ended_at == later.began_at >= one.began_at


@pytest.mark.triton
def test_triton_and_its_restart(tmp_path: Path) -> None:
    with demo_server(tmp_path) as server:
        before = read_beginning(server.runtime, of(server.runtime, server.name))
        server.runtime.stop(server.name, 45)
        followed = follow(server.runtime, server.name, 60)
        deployment = of(server.runtime, server.name)
        check(followed, deployment)
        startup = followed.startup
        assert [one.phase for one in startup.phases] == [Phase.BOOT, Phase.MODELS, Phase.SERVE, Phase.READY]
        models = next(one for one in startup.phases if one.phase is Phase.MODELS)
        assert models.done == models.total
        assert models.unit == "models"
        assert {one.key: one.value for one in startup.reported} == {"model_instances": 1}
        assert before
        assert [one.phase for one in before.phases] == [one.phase for one in startup.phases]
        assert before.began_at < startup.began_at
        again = read_beginning(server.runtime, deployment)
        assert again
        assert again.began_at == startup.began_at, "of its present run, although the log has the one before, too"
        assert again.phases[:2] == startup.phases[:2]


@pytest.fixture
def vllm(tmp_path: Path, local_vllm: LocalVllm) -> Iterator[tuple[ProcessRuntime, str]]:
    settings = settings_in(tmp_path)
    name = f"starter-{secrets.token_hex(4)}"
    profile = Profile(
        name=name,
        stack="vllm",
        model=str(local_vllm.model),
        program=str(local_vllm.program),
        engine={"dtype": "bfloat16", "max_model_len": 1024, "enforce_eager": True, "max_num_seqs": 2},
        env={
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CACHE_ROOT": str(tmp_path / "vllm"),
        },
        expose=Expose(http=free_ports(1)[0]),
    )
    runtime = ProcessRuntime(settings)
    try:
        runtime.create(STACKS["vllm"](PlanContext(profile, tmp_path / "p.yaml", "", "process", settings)).launch)
        yield runtime, name
        runtime.stop(name, 45)
    finally:
        kill_all(settings)


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_vllm(vllm: tuple[ProcessRuntime, str]) -> None:
    runtime, name = vllm
    followed = follow(runtime, name, 400)
    check(followed, of(runtime, name))
    startup = followed.startup
    phases = [one.phase for one in startup.phases]
    assert phases[:3] == [Phase.BOOT, Phase.ENGINE, Phase.WEIGHTS]
    assert phases[-4:] == [Phase.PROFILE, Phase.KV_CACHE, Phase.SERVE, Phase.READY]
    assert len(followed.seen) > 3, "it was seen to come further while it did"
    weights = startup.phases[2]
    assert (weights.done, weights.total, weights.unit) == (1, 1, "shards")
    told = {one.key: one.value for one in startup.reported}
    assert told["kv_bytes"] == 1 << 30
    assert told["kv_tokens"] == pytest.approx(told["concurrency"] * told["concurrency_tokens"], rel=0.01)
    assert told["concurrency_tokens"] == 1024
    assert told["engine_init_s"] > 0
