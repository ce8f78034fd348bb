"""From requests to figures, by the definitions of `engine.load_result`; all are exact, none is estimated."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.inference.prompt import Fault
from engine.load.doubts import doubts
from engine.load_plan import Level, LoadPlan, Objectives
from engine.load_result import (
    LEAST_FOR_P99,
    Digest,
    Failures,
    Generator,
    LevelResult,
    RequestRecord,
    ServerFigures,
)

MANY = 50_000
"""Values to sort; for fewer, numpy need not be imported"""


@dataclass(frozen=True, slots=True)
class RequestFigures:
    """Of one request that was answered; seconds, None where it is not defined."""

    ttft: float | None
    itl: float | None
    """Undefined for fewer than two tokens; 0 when all of them came at once"""
    e2e: float | None
    ttft_intended: float | None
    e2e_intended: float | None


def digest(values: Sequence[float]) -> Digest:
    """`spread` is the sample's standard deviation (n - 1); quantiles are as numpy's `percentile` has them."""
    count = len(values)
    if not count:
        return Digest()
    ordered = _in_order(values)
    mean = math.fsum(ordered) / count
    return Digest(
        n=count,
        mean=mean,
        spread=math.sqrt(math.fsum((value - mean) ** 2 for value in ordered) / (count - 1)) if count > 1 else None,
        least=ordered[0],
        p50=quantile(ordered, 0.50),
        p90=quantile(ordered, 0.90),
        p95=quantile(ordered, 0.95),
        p99=quantile(ordered, 0.99) if count >= LEAST_FOR_P99 else None,
        most=ordered[-1],
    )


def _in_order(values: Sequence[float]) -> Sequence[float]:
    """Many as plain numbers: as objects of Python's own, millions would take hundreds of megabytes."""
    if len(values) < MANY:
        return sorted(values)
    import numpy as np

    return np.sort(np.asarray(values, dtype=np.float64)).data


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linearly interpolated between the two nearest ranks; of values from the least to the most, at least one."""
    rank = share * (len(ordered) - 1)
    below = math.floor(rank)
    least = ordered[below]
    return least + (ordered[min(below + 1, len(ordered) - 1)] - least) * (rank - below)


def request_figures(record: RequestRecord) -> RequestFigures:
    sent, first, last, tokens = record.sent, record.first_token, record.last_token, record.tokens_out
    if sent is None or first is None or last is None:
        return RequestFigures(None, None, None, None, None)
    itl = (last - first) / (tokens - 1) if tokens is not None and tokens > 1 else None
    return RequestFigures(first - sent, itl, last - sent, first - record.intended, last - record.intended)


def is_done(record: RequestRecord) -> bool:
    """It was answered to its end."""
    return record.fault is None and record.sent is not None and record.ended is not None


def is_good(record: RequestRecord, objectives: Objectives) -> bool:
    """It was answered and kept all objectives, as who waits for it would say: from when it was meant to be sent."""
    if not is_done(record):
        return False
    figures = request_figures(record)
    return all(
        objective is None or (figure is not None and figure <= objective)
        for objective, figure in (
            (objectives.ttft_s, figures.ttft_intended),
            (objectives.itl_s, figures.itl),
            (objectives.e2e_s, figures.e2e_intended),
        )
    )


def level_result(
    plan: LoadPlan,
    level: Level,
    repeat: int,
    began_at: float,
    records: Sequence[RequestRecord],
    gaps: Sequence[float],
    examples: Mapping[Fault, str],
    server: ServerFigures | None,
    generator: Generator,
    *,
    stopped: bool,
    free_ends: bool = False,
) -> LevelResult:
    """Of all that was meant to be sent at this level, warm-up left out.

    Latencies, tokens and rates are of the requests that were answered to their end. A request with a `fault` failed,
    sent or not; one without, that was not sent, could not be; one that is neither was under way when it was stopped.
    `free_ends`: as `engine.load.doubts` has it.
    """
    done = [record for record in records if is_done(record)]
    figures = [request_figures(record) for record in done]
    seconds = _seconds(records, done)
    tokens_out = sum(record.tokens_out or 0 for record in done)
    good = sum(is_good(record, plan.objectives) for record in done) if plan.objectives.any else None
    faults = Counter(record.fault for record in records if record.fault is not None)
    return LevelResult(
        level=level,
        repeat=repeat,
        began_at=began_at,
        seconds=seconds,
        done=len(done),
        failed=faults.total(),
        not_sent=sum(record.sent is None and record.fault is None for record in records),
        failures=tuple(Failures(fault, count, examples.get(fault, "")) for fault, count in faults.most_common()),
        ttft=digest(_known(one.ttft for one in figures)),
        itl=digest(_known(one.itl for one in figures)),
        gap=digest(gaps),
        e2e=digest(_known(one.e2e for one in figures)),
        ttft_intended=digest(_known(one.ttft_intended for one in figures)),
        e2e_intended=digest(_known(one.e2e_intended for one in figures)),
        tokens_in=sum(record.tokens_in or 0 for record in done),
        tokens_out=tokens_out,
        requests_per_s=_per(len(done), seconds),
        output_tokens_per_s=_per(tokens_out, seconds),
        good=good,
        goodput_per_s=None if good is None else _per(good, seconds),
        server=server,
        generator=generator,
        doubts=doubts(level, records, done, server, generator, stopped=stopped, free_ends=free_ends),
        sent=sum(record.sent is not None for record in records),
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _seconds(records: Iterable[RequestRecord], done: Iterable[RequestRecord]) -> float:
    """From the first sending to the last answer's end; to what ended last where nothing was answered."""
    first = min((record.sent for record in records if record.sent is not None), default=None)
    ends = _known(record.ended for record in done) or _known(record.ended for record in records)
    return max(0.0, max(ends) - first) if ends and first is not None else 0.0


def _per(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
