"""A load test against a server that counts for itself: what was at once, what was asked, what was waited for."""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from engine.inference.client import PromptClient
from engine.inference.discover import discover
from engine.inference.measured import Measured
from engine.inference.prompt import Fault, PromptResult, Sampling
from engine.load.codec import Records
from engine.load.generator import LoadTest
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Workload
from engine.load_result import Doubt, LoadOutcome, LoadProgress, LoadResult
from tests.unit.load_bench import LoadServer

SHORT = Workload(prompt=Lengths(20), output=Lengths(4))


@pytest.fixture
def server() -> Iterator[LoadServer]:
    with LoadServer().running() as running:
        yield running


def closed(amount: int, **options: object) -> LoadPlan:
    return plan(Level(Arrival.CLOSED, amount), **options)


def plan(*levels: Level, **options: object) -> LoadPlan:
    return LoadPlan(**{"levels": levels, "workload": SHORT, "warmup": 0, **options})  # type: ignore[arg-type]


async def run(server: LoadServer, plan: LoadPlan, told: list[LoadProgress] | None = None) -> tuple[LoadResult, Records]:
    client = PromptClient(server.service)
    heard: list[LoadProgress] = [] if told is None else told
    try:
        return await load_test(server, plan, client, heard.append).run()
    finally:
        await client.close()


def load_test(
    server: LoadServer, plan: LoadPlan, client: PromptClient, tell: Callable[[LoadProgress], None] = lambda _: None
) -> LoadTest:
    return LoadTest(server.target, plan, client, tell, partial(discover, server.service, plan.transport))


def all_gone(server: LoadServer, count: int) -> bool:
    return server.hung_up == count


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 (the server is on another loop)
        await asyncio.sleep(0.01)


async def test_so_many_as_are_asked_for_are_really_at_once(server: LoadServer) -> None:
    server.first_s = 0.1
    result, records = await run(server, closed(8, requests=32))
    assert (result.outcome, result.message) == (LoadOutcome.DONE, "")
    (level,) = result.levels
    assert server.most_at_once == 8
    assert (level.done, level.failed, level.not_sent, len(records[0])) == (32, 0, 0, 32)
    assert 0.4 <= level.seconds < 1.6, "four rounds of 0.1 s, not 32"
    # Several at most times, by the client's own records too.
    busy = sum(one.ended - one.sent for one in records[0] if one.ended is not None and one.sent is not None)
    assert busy / level.seconds > 4
    assert level.e2e == level.e2e_intended
    assert level.ttft == level.ttft_intended


async def test_counts_and_tokens_are_exact(server: LoadServer) -> None:
    lengths = Workload(prompt=Lengths(40, 10), output=Lengths(8, 3))
    result, records = await run(server, closed(4, requests=50, warmup=3, workload=lengths))
    (level,) = result.levels
    measured = server.asked[3:]
    assert len(measured) == level.done == level.ttft.n == 50
    assert level.tokens_out == sum(tokens for _, tokens in measured)
    assert level.tokens_in == sum(len(prompt.split()) + 3 for prompt, _ in measured)
    assert 35 < level.tokens_in / 50 < 45
    assert level.gap.n == level.tokens_out - 50
    assert all(one.counted and one.fault is None for one in records[0])
    assert (result.model, result.transport) == ("tiny", "openai")


async def test_lengths_are_those_that_the_server_counts(server: LoadServer) -> None:
    _, records = await run(server, closed(2, requests=10))
    assert {one.tokens_in for one in records[0]} == {20}


async def test_lengths_are_found_where_little_fits(server: LoadServer) -> None:
    server.most_words = 100
    _, records = await run(server, closed(2, requests=10))
    assert {one.tokens_in for one in records[0]} == {20}
    server.most_words = 50
    result, _ = await run(server, closed(2, requests=10))
    assert result.outcome is LoadOutcome.FAILED
    assert "no room" in result.message


async def test_no_two_prompts_begin_alike_and_the_same_seed_gives_the_same_lengths(server: LoadServer) -> None:
    lengths = Workload(prompt=Lengths(30, 9), output=Lengths(6, 2))
    two = plan(Level(Arrival.CLOSED, 2), Level(Arrival.CLOSED, 3), requests=10, warmup=2, repeats=2, workload=lengths)
    _, records = await run(server, two)
    beginnings = [tuple(prompt.split()[:4]) for prompt in server.prompts]
    assert len(set(beginnings)) == len(beginnings) == 2 + 4 * 12
    asked = [sorted((one.tokens_in, one.tokens_out) for one in level) for level in records]
    assert asked[0] == asked[1] == asked[2] == asked[3]
    assert len(set(asked[0])) > 5


async def test_beyond_capacity_the_queue_shows(server: LoadServer) -> None:
    """40 a second are asked of one that can answer 20."""
    with LoadServer(first_s=0.05, capacity=1).running() as slow:
        result, records = await run(
            slow,
            plan(Level(Arrival.CONSTANT, 40), requests=60, workload=Workload(prompt=Lengths(20), output=Lengths(2))),
        )
    (level,) = result.levels
    sent = [one.sent - one.intended for one in records[0] if one.sent is not None]
    assert max(sent) < 0.5, "no request waited for an answer before it was sent"
    waits = [one.last_token - one.intended for one in records[0] if one.last_token is not None]
    assert len(waits) == 60
    assert waits[0] < 0.5
    # The last one came after 1.5 s and had the work of 3 s before it.
    assert 1.3 < waits[-1] < 2.5
    assert waits[10] < waits[30] < waits[50]
    assert level.e2e.most is not None
    assert level.e2e.most > 1.3, "nor is it hidden in the time from sending"
    assert Doubt.OVERLOADED in level.doubts
    assert slow.most_at_once > 20


async def test_with_a_rate_requests_are_sent_when_they_are_meant_to_be(server: LoadServer) -> None:
    server.first_s = 0.3
    _, records = await run(server, plan(Level(Arrival.CONSTANT, 50), requests=25))
    assert [one.intended for one in records[0]] == pytest.approx([number / 50 for number in range(25)])
    assert all(one.sent is not None and one.sent >= one.intended for one in records[0])
    assert server.most_at_once > 10


async def test_what_is_beyond_the_most_in_flight_is_counted(server: LoadServer) -> None:
    server.first_s = 0.2
    result, records = await run(server, plan(Level(Arrival.CONSTANT, 100), requests=50, most_in_flight=3))
    (level,) = result.levels
    assert server.most_at_once == 3
    assert level.done + level.not_sent == 50
    assert level.not_sent > 20
    assert Doubt.NOT_SENT in level.doubts
    assert sum(one.sent is None for one in records[0]) == level.not_sent


async def test_by_time_nothing_is_sent_after_it_and_what_is_under_way_is_awaited(server: LoadServer) -> None:
    server.first_s = 0.15
    for level in (Level(Arrival.CLOSED, 3), Level(Arrival.POISSON, 30)):
        result, records = await run(server, plan(level, requests=None, duration_s=0.4))
        (measured,) = result.levels
        assert measured.done == len(records[0]) >= 6
        assert all(one.sent is not None and one.intended < 0.4 for one in records[0])
        assert max(one.ended or 0 for one in records[0]) > 0.4


async def test_failures_are_counted_by_their_kind() -> None:
    faults = ("", "refuse", "error", "cut", "stall")
    with LoadServer(fault=lambda number: faults[number % 5]).running() as moody:
        result, _ = await run(moody, closed(5, requests=25, idle_timeout_s=0.5))
    (level,) = result.levels
    assert (level.done, level.failed) == (5, 20)
    assert {one.fault: one.count for one in level.failures} == {
        Fault.REFUSED: 5,
        Fault.ERROR: 5,
        Fault.CUT: 5,
        Fault.IDLE: 5,
    }
    example = next(one.example for one in level.failures if one.fault is Fault.ERROR)
    assert "the engine died" in example
    assert level.tokens_out == 20, "of those that were answered to their end"


async def test_one_that_refuses_all_is_not_asked_as_fast_as_it_refuses() -> None:
    with LoadServer(fault=lambda _: "refuse").running() as moody:
        result, _ = await run(moody, closed(2, requests=None, duration_s=0.5))
    assert result.levels[0].done == 0
    assert 4 <= result.levels[0].failed <= 12


async def test_one_that_does_not_answer_at_all_fails_before_anything_is_measured(server: LoadServer) -> None:
    with LoadServer().running() as gone:
        pass
    result, records = await run(gone, closed(2))
    assert (result.outcome, result.levels, records) == (LoadOutcome.FAILED, (), ())
    assert f"127.0.0.1:{gone.port}" in result.message


async def test_stopping_lets_go_of_what_is_under_way(server: LoadServer) -> None:
    server.first_s, server.gap_s = 0.01, 0.2
    long = Workload(prompt=Lengths(20), output=Lengths(500))
    for level in (Level(Arrival.CLOSED, 4), Level(Arrival.CONSTANT, 1000)):
        before = server.hung_up
        client = PromptClient(server.service)
        test = load_test(server, plan(level, requests=4, workload=long), client)
        running = asyncio.create_task(test.run())
        async with asyncio.timeout(10):
            await until(lambda: server.at_once == 4)
            test.stop()
            result, records = await running
            await until(partial(all_gone, server, before + 4))
        await client.close()
        assert (result.outcome, len(result.levels)) == (LoadOutcome.STOPPED, 1)
        measured = result.levels[0]
        assert (measured.done, measured.failed, measured.not_sent, measured.sent) == (0, 0, 0, 4)
        assert Doubt.STOPPED in measured.doubts
        assert [one.ended for one in records[0]] == [None] * 4


async def test_it_tells_how_it_stands(server: LoadServer) -> None:
    server.first_s = 0.2
    told: list[LoadProgress] = []
    level = Level(Arrival.CLOSED, 2)
    result, _ = await run(server, plan(level, level, requests=10, warmup=1), told)
    assert [one.number for one in told] == sorted(one.number for one in told)
    assert {(one.number, one.warming) for one in told} == {(1, True), (1, False), (2, True), (2, False)}
    last = told[-1]
    assert last.finished == result.levels[:1]
    assert (last.of, last.level) == (2, level)
    assert 0.5 < (last.share or 0) < 1
    assert last.in_flight == 2
    assert all(one.done + one.failed + one.in_flight == one.sent for one in told)
    assert any(one.requests_per_s > 5 and one.ttft.p50 is not None for one in told)


async def test_tokens_are_told_while_their_answers_go_on(server: LoadServer) -> None:
    server.gap_s = 0.05
    told: list[LoadProgress] = []
    long = Workload(prompt=Lengths(20), output=Lengths(40))
    await run(server, closed(2, requests=2, workload=long), told)
    under_way = [one for one in told if one.in_flight == 2 and one.elapsed_s > 1]
    assert under_way
    assert all(one.done == 0 and one.requests_per_s == 0 for one in under_way)
    assert all(10 < one.output_tokens_per_s < 60 for one in under_way), "two answers of 20 tokens a second"


async def test_the_sampling_is_the_plans_and_the_length_the_workloads(server: LoadServer) -> None:
    seen = []

    class Noting(PromptClient):
        async def carry_out(self, measured: Measured) -> PromptResult:
            seen.append(measured.request)
            return await super().carry_out(measured)

    client = Noting(server.service)
    sampling = Sampling(ignore_eos=True, temperature=0.5)
    await load_test(server, closed(1, requests=2, sampling=sampling), client).run()
    await client.close()
    assert {one.sampling.ignore_eos for one in seen} == {True}
    assert {one.sampling.temperature for one in seen} == {0.5}
    assert [one.sampling.max_tokens for one in seen[-2:]] == [4, 4]


@pytest.mark.parametrize(
    ("owner", "insists", "asked", "doubted"),
    [("vllm", False, True, False), ("somebody", False, False, True), ("somebody", True, True, False)],
)
async def test_a_model_that_takes_no_ignore_eos_is_not_asked_for_it(
    server: LoadServer, owner: str, insists: bool, asked: bool, doubted: bool
) -> None:
    server.owner = owner
    result, _ = await run(server, closed(2, requests=40, insists_on_ignore_eos=insists))
    assert server.ignores_eos == {asked}
    assert (Doubt.FREE_ENDS in result.levels[0].doubts) is doubted
    assert result.plan.sampling.ignore_eos is asked
    assert result.outcome is LoadOutcome.DONE


async def test_text_that_comes_at_once_is_one_arrival(server: LoadServer) -> None:
    server.gap_s = 0.02
    _, records = await run(server, closed(1, requests=2))
    assert [one.arrivals for one in records[0]] == [4, 4]
    server.at_a_time = 4
    result, records = await run(server, closed(2, requests=30))
    assert {(one.arrivals, one.tokens_out) for one in records[0]} == {(1, 4)}
    assert Doubt.FEW_ARRIVALS in result.levels[0].doubts
