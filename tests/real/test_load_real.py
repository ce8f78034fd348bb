"""Load tests of real servers, whose own counters and histograms say what was true."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.facade import Engine
from engine.inference.prompt import Style, Transport
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Workload
from engine.load_result import Digest, Doubt, LevelResult, LoadOutcome, LoadResult
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings
from tests.real.commands import needs_demo
from tests.real.test_vllm_real import commands
from tests.real.triton_support import demo_server, kill_all, settings_in
from tests.real.vllm_support import LocalVllm

WITHIN_S = 0.002
"""The client's means, one request at a time, of the server's own"""
WAKINGS = 3
"""Between the two clocks stand as many processes that must be woken: the server's to take the request in and to write
the answer out, the client's to read it. On a machine with other work each may be as late as the generator's own ticks
were on average meanwhile, which is measured, and as much more is allowed; on one without it is nothing"""
GRAIN_S = 0.001
"""By which timers are late anywhere"""


def load(engine: Engine, name: str, plan: LoadPlan) -> LoadResult:
    result = engine.load_blocking(name, plan, lambda _: None)
    assert (result.outcome, result.message) == (LoadOutcome.DONE, "")
    return result


def totals_are_the_servers(level: LevelResult, requests: int) -> None:
    """To the last one."""
    assert level.done == requests
    server = level.server
    assert server is not None
    assert server.alone
    assert (server.requests, server.tokens_in, server.tokens_out) == (level.done, level.tokens_in, level.tokens_out)
    assert (level.failed, level.not_sent) == (0, 0)
    assert Doubt.OTHERS not in level.doubts
    assert Doubt.COUNTED_BY_CHUNKS not in level.doubts


def late_by_others(level: LevelResult) -> float:
    """What other work on the machine may have put between the two clocks, in seconds."""
    lag = level.generator.lag.mean
    assert lag is not None
    return WAKINGS * max(0.0, lag - GRAIN_S)


def apart(ours: Digest, theirs: Digest) -> float:
    """Means of the same requests, the client's less the server's, in seconds."""
    assert theirs.n == ours.n
    assert ours.mean is not None
    assert theirs.mean is not None
    return ours.mean - theirs.mean


def latencies_are_the_servers(repeats: Sequence[LevelResult]) -> None:
    """In the repeat with the least between the two: other work on the machine delays what the client sees, and never
    hastens it, so that the least is nearest to what the client itself adds."""
    ttft, e2e = [], []
    for level in repeats:
        server = level.server
        assert server is not None
        margin = WITHIN_S + late_by_others(level)
        ttft.append((apart(level.ttft, server.ttft), margin))
        e2e.append((apart(level.e2e, server.e2e), margin))
    for what, found in (("TTFT", ttft), ("E2E", e2e)):
        told = ", ".join(f"{between * 1000:.2f} of {margin * 1000:.2f} ms" for between, margin in found)
        assert all(between > -WITHIN_S for between, _ in found), f"{what} before the server's: {told}"
        assert any(between < margin for between, margin in found), f"{what} after the server's: {told}"


PLAN = LoadPlan(
    (Level(Arrival.CLOSED, 1), Level(Arrival.CLOSED, 6), Level(Arrival.POISSON, 8)),
    requests=30,
    warmup=2,
    workload=Workload(prompt=Lengths(48, 12), output=Lengths(12, 4)),
)
ALONE = replace(PLAN, levels=PLAN.levels[:1], repeats=5)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("triton")
    with demo_server(folder) as server:
        yield Engine(settings_in(folder), {"process": server.runtime})


@pytest.mark.triton
@needs_demo
@pytest.mark.parametrize("transport", [Transport.TRITON_HTTP, Transport.TRITON_GRPC])
def test_totals_are_those_that_triton_counts(triton: Engine, transport: Transport) -> None:
    result = load(triton, "demo", replace(PLAN, transport=transport))
    assert (result.model, result.transport) == ("prose", transport)
    for level in result.levels:
        totals_are_the_servers(level, 30)
        # The demo's model does not end before it is told to, and a word is a token to it.
        assert level.tokens_out == result.levels[0].tokens_out
        assert level.tokens_in == result.levels[0].tokens_in
        assert 42 < level.tokens_in / level.done < 54
    alone = result.levels[0]
    assert alone.itl.p50 == pytest.approx(0.025, rel=0.1), "its config says 25 ms a token"
    server = alone.server
    assert server is not None
    assert alone.ttft.mean is not None
    assert server.ttft.mean is not None
    # Its model's process, the server's threads and gRPC's own stand between the two clocks, too many to tell how busy
    # each was. Within half a token's time, though, no empty message was taken for the first one, and none was missed.
    assert -0.001 < alone.ttft.mean - server.ttft.mean < 0.0125 + late_by_others(alone)
    assert triton.loads("demo")[0] == result


@pytest.mark.triton
@needs_demo
def test_beyond_what_triton_holds_the_queue_shows(triton: Engine) -> None:
    """It answers 8 at once, each in 12 times 25 ms: 26 a second, and 60 are asked of it."""
    plan = LoadPlan(
        (Level(Arrival.CONSTANT, 60),), requests=150, workload=Workload(prompt=Lengths(20), output=Lengths(12))
    )
    (level,) = load(triton, "demo", plan).levels
    totals_are_the_servers(level, 150)
    assert Doubt.OVERLOADED in level.doubts
    assert level.requests_per_s < 30
    assert level.e2e_intended.most is not None
    assert level.e2e_intended.most > 2, "2.5 s of sending, and 5.6 s of work"


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_totals_and_latencies_are_those_of_vllm(tmp_path: Path, local_vllm: LocalVllm) -> None:
    name = f"load-{secrets.token_hex(4)}"
    tritontui = commands(tmp_path, local_vllm, name)
    settings = Settings.load()
    try:
        tritontui.ok("up", name, "--wait")
        engine = Engine(settings, {"process": ProcessRuntime(settings)})
        for style in Style:
            result = load(engine, name, replace(PLAN, style=style))
            assert (result.model, result.transport) == (name, Transport.OPENAI)
            for level in result.levels:
                totals_are_the_servers(level, 30)
                assert level.tokens_out == result.levels[0].tokens_out
                # Several of this tiny model's tokens make a word, so lengths are near, not exact.
                assert 40 < level.tokens_in / level.done < 56
            latencies_are_the_servers(load(engine, name, replace(ALONE, style=style)).levels)
        tritontui.ok("down", name)
    finally:
        kill_all(settings)
