"""Two load tests side by side, and what chance alone makes of them."""

import random
import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.inference.prompt import Style
from engine.load.compare import compare, differences, student
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Objectives, Workload
from engine.load_result import Digest, LevelResult, LoadResult
from tests.unit.load_results import PLAN, load_result

ONE = Level(Arrival.CLOSED, 1)
TITLES = ["TTFT p50", "TTFT p95", "TTFT p99", "ITL p50", "E2E p50", "E2E p99", "requests", "output", "goodput"]
BASE = load_result(LoadPlan((ONE,)))[0]


def of(*values: float, figure: Callable[[LevelResult, float], LevelResult] | None = None) -> LoadResult:
    """Repeats of one level whose requests a second (or another figure) are these."""
    put = figure or (lambda level, value: replace(level, requests_per_s=value))
    levels = tuple(replace(put(BASE.levels[0], value), repeat=place) for place, value in enumerate(values))
    return replace(BASE, levels=levels)


def change(first: LoadResult, second: LoadResult, title: str = "requests") -> tuple[float | None, float | None]:
    found = next(one for one in compare(first, second) if one.title == title)
    return found.change, found.noise


def test_every_figure_of_each_level_that_both_have() -> None:
    first, _ = load_result()
    second, _ = load_result(replace(PLAN, levels=(*PLAN.levels[1:], Level(Arrival.POISSON, 1))), seed=5, slower=1.5)
    changes = compare(first, replace(second, levels=second.levels))
    assert [(one.level.amount, one.title) for one in changes] == [
        (amount, title) for amount in (4, 16) for title in TITLES
    ]
    by_title = {one.title: one for one in changes if one.level.amount == 16}
    itl = by_title["ITL p50"]
    assert itl.change == pytest.approx(0.5, abs=0.05)
    assert itl.beyond_noise
    assert by_title["output"].change == pytest.approx(-1 / 3, abs=0.05)
    assert compare(first, first)[0].change == 0
    assert compare(first, replace(second, levels=second.levels[2:3])) == ()


def test_objectives_that_none_had_make_no_goodput() -> None:
    without = load_result(replace(PLAN, objectives=Objectives()))[0]
    assert [one.title for one in compare(without, without)][:9].count("goodput") == 0


def test_noise_is_students_interval_of_the_repeats() -> None:
    """By hand: means 11 and 20, pooled variance 2.5, 4 degrees of freedom."""
    found, noise = change(of(10, 11, 12), of(18, 20, 22))
    assert found == pytest.approx(20 / 11 - 1)
    assert noise == pytest.approx(2.776 * (2.5 * 2 / 3) ** 0.5 / 11, rel=1e-3)
    assert change(of(10), of(20))[1] is None, "nothing was repeated"
    assert change(of(10, 12), of(20))[1] == pytest.approx(12.706 * (2 * 1.5) ** 0.5 / 11, rel=1e-3)


@pytest.mark.parametrize(("freedom", "known"), [(1, 12.706), (4, 2.776), (11, 2.201), (20, 2.086), (120, 1.980)])
def test_student_is_as_in_tables(freedom: int, known: float) -> None:
    assert student(freedom) == pytest.approx(known, rel=1.5e-3)


@pytest.mark.parametrize("repeats", [(3, 3), (2, 2)])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_same_measured_twice_is_beyond_noise_in_one_case_of_twenty(repeats: tuple[int, int], share: float) -> None:
    """Quantiles of forty latencies that are log-normal, as latencies are."""
    rng = random.Random(7)

    def quantiles(count: int) -> list[float]:
        return [sorted(rng.lognormvariate(0, 0.5) for _ in range(40))[int(share * 40)] for _ in range(count)]

    trials, beyond, seen = 250, 0, 0
    for _ in range(trials):
        found, noise = change(of(*quantiles(repeats[0])), of(*quantiles(repeats[1])))
        assert found is not None
        assert noise is not None
        beyond += abs(found) > noise
        changed, noise = change(of(*quantiles(repeats[0])), of(*(4 * one for one in quantiles(repeats[1]))))
        assert changed is not None
        assert noise is not None
        seen += abs(changed) > noise
    assert 0.01 * trials < beyond < 0.09 * trials
    assert repeats == (2, 2) or seen > 0.9 * trials, "and a change of that size is found"


def test_what_is_not_known_on_one_side_has_no_change() -> None:
    def p99(level: LevelResult, value: float) -> LevelResult:
        return replace(level, ttft_intended=Digest(99, p50=0.1, p99=value or None))

    first, second = of(0.5, 0.6, figure=p99), of(0.0, 0.0, figure=p99)
    one = next(one for one in compare(first, second) if one.title == "TTFT p99")
    assert (one.first, one.second, one.change, one.noise, one.beyond_noise) == (0.55, None, None, None, None)
    assert change(of(0, 0), of(1, 1)) == (None, None), "of nothing there is no share"
    assert change(of(5, 5), of(6, 6))[1] == 0


def test_what_else_differs_is_told() -> None:
    assert differences(BASE, BASE) == ()
    other = replace(
        BASE,
        what="vllm/vllm-openai:v0.12.0",
        plan=replace(
            BASE.plan,
            workload=Workload(Lengths(256)),
            lora="fr",
            requests=None,
            duration_s=30.0,
            style=Style.COMPLETION,
            sampling=replace(BASE.plan.sampling, temperature=0.5),
            objectives=Objectives(ttft_s=0.5, e2e_s=2),
        ),
    )
    assert differences(BASE, other) == (
        "image: vllm/vllm-openai:v0.11.0 → vllm/vllm-openai:v0.12.0",
        "prompts: 128 → 256",
        "requests of each level: 100 → –",
        "seconds of each level: – → 30",
        "style: – → completion",
        "LoRA adapter: – → fr",
        "temperature: – → 0.5",
        "objectives: – → TTFT at most 500 ms, E2E at most 2000 ms",
    )


def test_means_are_of_all_repeats() -> None:
    found = next(one for one in compare(of(1, 2, 6), of(4, 4, 4)) if one.title == "requests")
    assert (found.first, found.second) == (statistics.fmean((1, 2, 6)), 4)
