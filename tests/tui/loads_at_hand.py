"""Load tests, under way and done, for tests of what shows them."""

from collections.abc import Sequence
from dataclasses import replace

from engine.inference.prompt import Fault
from engine.load_plan import Arrival, Level, LoadPlan, Objectives
from engine.load_result import (
    Digest,
    Doubt,
    Failures,
    Generator,
    LevelResult,
    LoadOutcome,
    LoadProgress,
    LoadResult,
    ServerFigures,
)
from tests.tui.fake_api import NOW

ONE, FOUR, SIXTEEN = (Level(Arrival.CLOSED, float(amount)) for amount in (1, 4, 16))
PLAN = LoadPlan((ONE, FOUR, SIXTEEN), duration_s=15.0)
REFUSED = Failures(Fault.REFUSED, 3, "The server answered 503: [busy].")


def digest(middle: float, n: int = 100) -> Digest:
    """About as wide as latencies are."""
    p99 = middle * 3 if n >= 100 else None
    return Digest(n, middle * 1.1, middle * 0.4, middle * 0.5, middle, middle * 1.6, middle * 2, p99, middle * 4)


def level(at: Level = ONE, *, ttft: float = 0.0412, out: float = 61.0, repeat: int = 0, failed: int = 0) -> LevelResult:
    return LevelResult(
        level=at,
        repeat=repeat,
        began_at=NOW - 60,
        seconds=14.2,
        done=100 - failed,
        failed=failed,
        not_sent=0,
        failures=(replace(REFUSED, count=failed),) if failed else (),
        ttft=digest(ttft, 100 - failed),
        itl=digest(0.0121, 100 - failed),
        gap=digest(0.0122, 6300),
        e2e=digest(0.81, 100 - failed),
        ttft_intended=digest(ttft, 100 - failed),
        e2e_intended=digest(0.81, 100 - failed),
        tokens_in=12800,
        tokens_out=6400,
        requests_per_s=out / 64,
        output_tokens_per_s=out,
        good=None,
        goodput_per_s=None,
        server=ServerFigures(
            100.0, 12800.0, 6400.0, Digest(100, 0.0401, None, None, 0.04), Digest(), Digest(), Digest()
        ),
        generator=Generator(digest(0.0002, 500), Digest(), 0.12),
    )


LEVELS = (
    level(),
    level(FOUR, ttft=0.066, out=203.0),
    replace(level(SIXTEEN, ttft=0.311, out=488.0, failed=3), doubts=(Doubt.CLIENT_SLOW, Doubt.OTHERS)),
)


def result(
    id: str = "1", levels: Sequence[LevelResult] = LEVELS, *, ago: float = 60.0, plan: LoadPlan = PLAN
) -> LoadResult:
    return LoadResult(
        id=id,
        deployment="llama3-70b",
        run="abc",
        what="example/triton:1",
        model="prose",
        transport="openai",
        plan=plan,
        began_at=NOW - ago,
        outcome=LoadOutcome.DONE,
        message="",
        levels=tuple(levels),
        machine="gpu-box-3, Xeon, 16 cores",
    )


def progress(**changes: object) -> LoadProgress:
    """At the second of three levels."""
    told = LoadProgress(
        level=FOUR,
        number=2,
        of=3,
        warming=False,
        elapsed_s=6.0,
        share=0.46,
        sent=42,
        in_flight=4,
        done=38,
        failed=0,
        ttft=digest(0.0661, 38),
        ttft_recent=digest(0.0661, 38),
        itl=digest(0.0121, 38),
        e2e=digest(0.78, 38),
        requests_per_s=3.14,
        output_tokens_per_s=198.0,
        failures=(),
        doubts=(),
        finished=LEVELS[:1],
    )
    return replace(told, **changes)  # type: ignore[arg-type]


WITH_OBJECTIVES = replace(PLAN, objectives=Objectives(ttft_s=0.2))
