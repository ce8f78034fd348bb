"""From requests to figures: against numpy, by hand, and on queues that are simulated."""

import heapq
import math
import random
import statistics
from array import array
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.inference.prompt import Fault
from engine.load import statistics as load_statistics
from engine.load.doubts import queue_grows
from engine.load.running import PRECISION, Running, RunningDigest
from engine.load.statistics import digest, is_good, level_result, request_figures
from engine.load_plan import Arrival, Level, LoadPlan, Objectives
from engine.load_result import LEAST_FOR_P99, Digest, Doubt, Generator, LevelResult, RequestRecord, ServerFigures
from tests.unit.load_results import CALM, at_once, failed, request

SECONDS = st.lists(st.floats(0, 1e4, allow_nan=False), min_size=1, max_size=300)
CLOSED = Level(Arrival.CLOSED, 4)
RATE = Level(Arrival.POISSON, 10)
PLAN = LoadPlan((CLOSED,))


def measured(
    records: list[RequestRecord],
    level: Level = CLOSED,
    plan: LoadPlan = PLAN,
    *,
    server: ServerFigures | None = None,
    generator: Generator = CALM,
    stopped: bool = False,
) -> LevelResult:
    examples = {Fault.CUT: "It ended."}
    return level_result(plan, level, 0, 1000.0, records, [0.02], examples, server, generator, stopped=stopped)


@given(SECONDS)
def test_a_digest_is_numpys(values: list[float]) -> None:
    found = digest(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert (found.least, found.most) == (min(values), max(values))
    for share, value in ((50, found.p50), (90, found.p90), (95, found.p95)):
        assert value == pytest.approx(np.percentile(values, share), rel=1e-9, abs=1e-9)
    if len(values) < LEAST_FOR_P99:
        assert found.p99 is None
    else:
        assert found.p99 == pytest.approx(np.percentile(values, 99), rel=1e-9, abs=1e-9)
    if len(values) > 1:
        assert found.spread == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)
    else:
        assert found.spread is None


@given(SECONDS.filter(lambda values: len(values) > 1))
def test_a_quantile_lies_between_its_two_nearest_ranks(values: list[float]) -> None:
    """By counting, without numpy: at least as many are on either side as the share says."""
    p90 = digest(values).p90
    assert p90 is not None
    below = sum(value <= p90 for value in values)
    assert below >= math.floor(0.9 * (len(values) - 1))
    assert sum(value >= p90 for value in values) >= math.floor(0.1 * (len(values) - 1))


def test_many_values_have_the_same_figures_as_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    values = array("d", np.random.default_rng(1).lognormal(size=501))
    few = digest(values)
    monkeypatch.setattr(load_statistics, "MANY", 10)
    assert digest(values) == digest(list(values)) == few
    assert all(type(getattr(few, one.name)) is float for one in fields(few) if one.name != "n")


def test_nothing_has_no_figures() -> None:
    assert digest([]) == Digest()
    assert RunningDigest().digest() == Digest()
    nothing = measured([])
    assert (nothing.done, nothing.seconds, nothing.requests_per_s, nothing.good) == (0, 0.0, 0.0, None)


@given(SECONDS)
def test_a_running_digest_is_as_precise_as_it_says(values: list[float]) -> None:
    running = RunningDigest()
    for value in values:
        running.add(value)
    live, exact = running.digest(), digest(values)
    assert (live.n, live.least, live.most) == (exact.n, exact.least, exact.most)
    assert live.mean == pytest.approx(exact.mean, rel=1e-9, abs=1e-9)
    for name in ("p50", "p90", "p95", "p99"):
        assert getattr(live, name) == pytest.approx(getattr(exact, name), rel=PRECISION * 1.01, abs=1e-12), name


def test_figures_are_from_the_sending_and_from_when_it_was_meant_to_be_sent() -> None:
    figures = request_figures(request(10.0, 0.5, 0.02, 11, intended=8.0))
    assert figures.ttft == pytest.approx(0.5)
    assert figures.itl == pytest.approx(0.02)
    assert figures.e2e == pytest.approx(0.7)
    assert figures.ttft_intended == pytest.approx(2.5)
    assert figures.e2e_intended == pytest.approx(2.7)


def test_itl_needs_two_tokens() -> None:
    assert request_figures(request(0.0, tokens=1)).itl is None
    at_once = request_figures(request(0.0, itl=0.0, tokens=64)).itl
    assert at_once == 0, "all came in one piece: left out, only those with a longer time would be in the mean"
    unknown = RequestRecord(0.0, 0.0, 0.1, 0.3, 0.3, None, None)
    assert request_figures(unknown).itl is None
    assert request_figures(unknown).e2e == 0.3


def test_a_level_counts_each_request_once() -> None:
    under_way = RequestRecord(0.0, 0.5, 0.6)
    records = [
        *(request(0.1 * number, tail=0.5) for number in range(6)),
        failed(0.2, Fault.CUT, 30.0),
        failed(0.3, Fault.CUT, 30.0),
        failed(None, Fault.CONNECTION),
        RequestRecord(0.4, None),
        under_way,
    ]
    level = measured(records)
    assert (level.done, level.failed, level.not_sent) == (6, 3, 1)
    assert [(one.fault, one.count, one.example) for one in level.failures] == [
        (Fault.CUT, 2, "It ended."),
        (Fault.CONNECTION, 1, ""),
    ]
    assert level.seconds == pytest.approx(0.5 + 0.3 + 0.5), "a failure that was long waited for is no answer"
    assert (level.tokens_in, level.tokens_out) == (6 * 128, 66)
    assert level.output_tokens_per_s == pytest.approx(66 / 1.3)
    assert level.requests_per_s == pytest.approx(6 / 1.3)
    assert level.ttft == level.ttft_intended
    assert level.gap == digest([0.02])


def test_goodput_is_of_requests_that_keep_all_objectives() -> None:
    wanted = Objectives(ttft_s=0.2, itl_s=0.03, e2e_s=1.0)
    good, slow_first, slow_next, late = (
        request(0.0),
        request(0.0, ttft=0.3),
        request(0.0, itl=0.04),
        request(1.0, intended=0.8),
    )
    assert [is_good(one, wanted) for one in (good, slow_first, slow_next, late)] == [True, False, False, False]
    assert not is_good(request(0.0, tokens=1), wanted), "without a second token there is no ITL that could be kept"
    assert is_good(request(0.0, tokens=1), Objectives(ttft_s=0.2))
    assert not is_good(request(1.0, intended=0.2), Objectives(e2e_s=1.0)), "0.3 s since it was sent, 0.8 s too late"
    assert not is_good(failed(0.0), Objectives(ttft_s=10.0))
    level = measured([good, slow_first, slow_next, failed(0.1)], plan=LoadPlan((CLOSED,), objectives=wanted))
    assert level.good == 1
    assert level.goodput_per_s == pytest.approx(1 / level.seconds)
    assert measured([good]).good is None


def test_a_calm_level_leaves_no_doubt() -> None:
    punctual = replace(CALM, late=Digest(200, p95=0.009, p99=0.01))
    assert measured(at_once(100, 4), server=ServerFigures(100), generator=punctual).doubts == ()


@pytest.mark.parametrize(
    ("doubt", "level"),
    [
        (Doubt.CLIENT_SLOW, measured(at_once(100, 4), generator=Generator(Digest(200, p95=0.001, p99=0.011)))),
        (Doubt.CLIENT_SLOW, measured(at_once(100, 4), generator=Generator(Digest(20, p95=0.011)))),
        (Doubt.CLIENT_SLOW, measured(at_once(100, 4), generator=replace(CALM, late=Digest(200, p95=0.001, p99=0.011)))),
        (Doubt.CLIENT_SLOW, measured(at_once(100, 4), generator=replace(CALM, late=Digest(20, p95=0.011)))),
        (Doubt.CLIENT_SLOW, measured(at_once(100, 4), generator=Generator(cpu=0.91))),
        (Doubt.NOT_SENT, measured([*at_once(100, 4), RequestRecord(0.4, None)])),
        (Doubt.OTHERS, measured(at_once(100, 4), server=ServerFigures(101, alone=False))),
        (Doubt.SHORT, measured(at_once(29, 4))),
        (Doubt.SHORT, measured(at_once(100, 64), Level(Arrival.CLOSED, 64))),
        (Doubt.STOPPED, measured(at_once(100, 4), stopped=True)),
        (Doubt.COUNTED_BY_CHUNKS, measured([*at_once(99, 4), request(0.0, counted=False)])),
        (Doubt.OTHER_MODELS, measured(at_once(100, 4), server=ServerFigures(100, own=False))),
        (Doubt.FEW_ARRIVALS, measured([*at_once(89, 4), *([replace(request(0.0), arrivals=5)] * 11)])),
    ],
)
def test_a_level_that_is_to_be_doubted_says_why(doubt: Doubt, level: LevelResult) -> None:
    assert level.doubts == (doubt,)


def test_tokens_that_came_by_several_are_told_of_many_answers_only() -> None:
    """Of 11 tokens in 6 arrivals nearly each had its own; of two in one nothing can be said."""
    some = [replace(request(0.0), arrivals=1)] * 10
    assert measured([*([replace(request(0.0), arrivals=6)] * 90), *some]).doubts == ()
    assert measured([replace(request(0.0, tokens=2), arrivals=1)] * 100).doubts == ()


def test_what_was_sent_is_counted_whatever_became_of_it() -> None:
    cut = RequestRecord(0.5, 0.5)
    level = measured([request(0.0), failed(0.1), failed(None, Fault.CONNECTION), RequestRecord(0.4, None), cut])
    assert (level.done, level.failed, level.not_sent, level.sent) == (1, 2, 1, 3)


def queue(load: float, count: int, seed: int, servers: int = 8, service_s: float = 1.0) -> list[RequestRecord]:
    """Poisson arrivals at a server that answers so many at a time, first come first served."""
    rng = random.Random(seed)
    at, free, found = 0.0, [0.0] * servers, []
    for _ in range(count):
        at += rng.expovariate(load * servers / service_s)
        began = max(at, heapq.heappop(free))
        ended = began + max(0.1, rng.gauss(service_s, service_s / 4))
        heapq.heappush(free, ended)
        found.append(RequestRecord(at, at, began + 0.01, ended, ended, 10, 10, counted=True))
    return found


def test_a_queue_that_grows_is_seen_and_one_that_does_not_hardly_ever() -> None:
    grows = {load: sum(queue_grows(queue(load, 400, seed)) for seed in range(40)) for load in (0.5, 0.8, 1.3, 2.0)}
    assert grows[0.5] == 0
    assert grows[0.8] <= 2
    assert grows[1.3] >= 38
    assert grows[2.0] == 40


def test_waits_that_differ_by_chance_are_no_growing_queue() -> None:
    """Of long and short answers in any order, as their lengths make them."""
    rng = random.Random(3)
    orders = [[request(float(at), ttft=rng.lognormvariate(1, 1.5)) for at in range(60)] for _ in range(100)]
    assert sum(map(queue_grows, orders)) <= 4


def test_only_a_rate_can_be_beyond_what_a_server_answers() -> None:
    beyond = queue(2.0, 200, 1)
    assert Doubt.OVERLOADED in measured(beyond, RATE).doubts
    assert Doubt.OVERLOADED not in measured(beyond, CLOSED).doubts
    assert not queue_grows(beyond[:10]), "of so few nothing can be said"


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_one_slow_answer_is_no_growing_queue(seed: int) -> None:
    records = at_once(200, 4, seed)
    records[190] = request(records[190].sent or 0.0, ttft=30.0)
    assert not queue_grows(records)


def test_running_knows_what_was_answered_so_far() -> None:
    running = Running()
    for one in (request(1.0, 0.1, 0.02, 11, intended=0.5), request(0.0, 0.3, tokens=1), failed(0.0)):
        running.add(one)
    ttft, itl, e2e = running.digests()
    assert (ttft.n, itl.n, e2e.n) == (2, 1, 2)
    assert ttft.most == pytest.approx(0.6)
    assert itl.p50 == pytest.approx(0.02)
    assert ttft.p99 is None
