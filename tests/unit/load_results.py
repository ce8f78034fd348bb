"""Load tests whose every time is known, for tests of what is made of them."""

import random

from engine.inference.prompt import Fault
from engine.load.codec import Records
from engine.load.statistics import level_result
from engine.load_plan import Arrival, Level, LoadPlan, Objectives
from engine.load_result import Digest, Generator, LoadOutcome, LoadResult, RequestRecord, ServerFigures

PLAN = LoadPlan(
    (Level(Arrival.CLOSED, 1), Level(Arrival.CLOSED, 4), Level(Arrival.CLOSED, 16)),
    repeats=2,
    objectives=Objectives(ttft_s=0.2, itl_s=0.03),
)
CALM = Generator(lag=Digest(100, 0.001, 0.0, 0.0, 0.001, 0.001, 0.001, 0.002, 0.002), cpu=0.2)


def request(
    sent: float,
    ttft: float = 0.1,
    itl: float = 0.02,
    tokens: int = 11,
    *,
    intended: float | None = None,
    counted: bool = True,
    tail: float = 0.001,
) -> RequestRecord:
    """One that was answered."""
    last = sent + ttft + itl * (tokens - 1)
    return RequestRecord(
        sent if intended is None else intended, sent, sent + ttft, last, last + tail, 128, tokens, counted
    )


def failed(sent: float | None, fault: Fault = Fault.CUT, ended: float | None = None) -> RequestRecord:
    return RequestRecord(sent or 0.0, sent, ended=ended, fault=fault)


def at_once(count: int, amount: int, seed: int = 0, *, slower: float = 1.0) -> list[RequestRecord]:
    """A closed loop's: each of `amount` clients sends the next when the last has ended."""
    rng = random.Random(seed)
    free = [0.0] * amount
    found = []
    for number in range(count):
        place = number % amount
        ttft = slower * 0.05 * rng.lognormvariate(0.1 * amount**0.5, 0.2)
        found.append(request(free[place], ttft, slower * (0.01 + 0.0006 * amount) * rng.uniform(0.95, 1.05), 64))
        free[place] = found[-1].ended or 0.0
    return found


def load_result(plan: LoadPlan = PLAN, *, seed: int = 0, slower: float = 1.0) -> tuple[LoadResult, Records]:
    """Of a plan with a closed loop; a hundred requests of each level, all answered."""
    records, levels = [], []
    for repeat in range(plan.repeats):
        for level in plan.levels:
            requests = at_once(100, int(level.amount), seed + 31 * repeat, slower=slower)
            server = ServerFigures(100, 12_800, 6400, Digest(100, 0.06), Digest(100, 0.011), Digest(100, 0.8))
            records.append(tuple(requests))
            levels.append(
                level_result(plan, level, repeat, 1000.0, requests, [0.02, 0.03], {}, server, CALM, stopped=False)
            )
    result = LoadResult(
        *("", "llama", "id1 1000", "vllm/vllm-openai:v0.11.0", "meta/Llama-3-8B", "openai", plan, 1_780_000_000.0),
        *(LoadOutcome.DONE, "", tuple(levels), "box, AMD EPYC 9354, 32 cores"),
    )
    return result, tuple(records)
