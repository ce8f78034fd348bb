"""Whether a load plan can be carried out at all."""

import math
from collections.abc import Iterator

from engine.errors import EngineError, Exit
from engine.load_plan import MOST_IN_FLIGHT, MOST_RATE, MOST_TOKENS, Arrival, Lengths, Level, LoadPlan, Workload


class InvalidLoad(EngineError):
    """A load plan asks for what cannot be."""

    exit_code = Exit.INVALID


def check(plan: LoadPlan) -> None:
    """Raises `InvalidLoad` with the first thing that is wrong."""
    for wrong in _wrong(plan):
        raise InvalidLoad(wrong)


def _wrong(plan: LoadPlan) -> Iterator[str]:
    if not plan.levels:
        yield "A load test needs at least one level: a concurrency or a rate."
    for level in plan.levels:
        yield from _level(level)
    if plan.requests is None and plan.duration_s is None:
        yield "A load test needs an end: a number of requests, or a duration."
    if plan.requests is not None and plan.requests < 1:
        yield f"{plan.requests} requests are none; at least 1 is needed."
    if plan.duration_s is not None and not _positive(plan.duration_s):
        yield f"A duration of {plan.duration_s:g} s is none."
    if plan.warmup < 0:
        yield f"{plan.warmup} warm-up requests cannot be sent; 0 sends none."
    if plan.repeats < 1:
        yield f"{plan.repeats} repeats measure nothing; 1 measures once."
    if not plan.most_in_flight >= 1:
        yield "At least 1 request must be allowed to be under way."
    if not _positive(plan.idle_timeout_s):
        yield f"An idle limit of {plan.idle_timeout_s:g} s waits for nothing."
    workload = plan.workload
    yield from _lengths("prompt", workload.prompt)
    yield from _lengths("answer", workload.output)
    if wrong := wrong_prefix(workload):
        yield wrong


def wrong_prefix(workload: Workload) -> str:
    """In a sentence; empty when there can be such a shared prefix. One that is as long as prompts are makes them
    longer than was asked for."""
    prefix, mean = workload.shared_prefix, workload.prompt.mean
    if prefix < 0:
        return f"A shared prefix of {prefix:,} tokens cannot be."
    if prefix and prefix >= mean and workload.file is None:
        return f"A shared prefix of {prefix:,} tokens leaves nothing of prompts of {mean:,.12g} tokens: give fewer."
    return ""


def _level(level: Level) -> Iterator[str]:
    if level.arrival is Arrival.CLOSED:
        if level.amount % 1 != 0 or not 1 <= level.amount <= MOST_IN_FLIGHT:
            yield f"{level.amount:,.12g} at once cannot be: a whole number from 1 to {MOST_IN_FLIGHT:,} is needed."
    elif not 0 < level.amount <= MOST_RATE:
        yield (
            f"A rate of {level.amount:,.12g} requests a second cannot be: more than 0 and at most {MOST_RATE:,.0f} is "
            "needed."
        )


def _lengths(what: str, lengths: Lengths) -> Iterator[str]:
    if not 1 <= lengths.mean <= MOST_TOKENS:
        yield (
            f"The {what}'s mean length of {lengths.mean:,.12g} tokens cannot be: from 1 to {MOST_TOKENS:,} tokens are "
            "possible."
        )
    if not 0 <= lengths.spread <= MOST_TOKENS:
        yield f"The {what}'s spread of {lengths.spread:,.12g} tokens cannot be: from 0 to {MOST_TOKENS:,} are possible."


def _positive(number: float) -> bool:
    return number > 0 and math.isfinite(number)
