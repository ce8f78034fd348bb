"""Two load tests side by side: each figure's change, and whether it is more than what repeats of the same differ by."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from statistics import fmean, variance

from engine.load.report import objectives
from engine.load_plan import Level
from engine.load_result import LevelResult, LoadChange, LoadResult

_FIGURES: tuple[tuple[str, str, Callable[[LevelResult], float | None]], ...] = (
    ("TTFT p50", "s", lambda one: one.ttft_intended.p50),
    ("TTFT p95", "s", lambda one: one.ttft_intended.p95),
    ("TTFT p99", "s", lambda one: one.ttft_intended.p99),
    ("ITL p50", "s", lambda one: one.itl.p50),
    ("E2E p50", "s", lambda one: one.e2e_intended.p50),
    ("E2E p99", "s", lambda one: one.e2e_intended.p99),
    ("requests", "/s", lambda one: one.requests_per_s),
    ("output", "tokens/s", lambda one: one.output_tokens_per_s),
    ("goodput", "/s", lambda one: one.goodput_per_s),
)
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""The 97.5 % quantiles of Student's distribution with 1, 2, … degrees of freedom"""
_NORMAL = 1.959964


def compare(first: LoadResult, second: LoadResult) -> tuple[LoadChange, ...]:
    """Of the levels that both have, in the first's order; a figure that neither has is left out.

    Each value is the mean of the level's repeats. The noise is how far apart two such means would be in 19 of 20 cases
    if nothing had changed: Student's interval from the spread of the repeats, taken as the same in both. It is unknown
    when neither level was repeated.
    """
    levels = dict.fromkeys(one.level for one in first.levels)
    return tuple(change for level in levels for change in _of_level(level, first, second))


def differences(first: LoadResult, second: LoadResult) -> tuple[str, ...]:
    """What else differs between two load tests than what they measured, by which their figures may differ, too."""
    a, b = first.plan, second.plan
    pairs: tuple[tuple[str, object, object], ...] = (
        ("deployment", first.deployment, second.deployment),
        ("image", first.what, second.what),
        ("model", first.model, second.model),
        ("protocol", first.transport, second.transport),
        ("client", first.machine, second.machine),
        ("prompts", a.workload.file or a.workload.prompt.mean, b.workload.file or b.workload.prompt.mean),
        ("spread of the prompts", a.workload.prompt.spread, b.workload.prompt.spread),
        ("outputs", a.workload.output.mean, b.workload.output.mean),
        ("spread of the outputs", a.workload.output.spread, b.workload.output.spread),
        ("shared prefix", a.workload.shared_prefix, b.workload.shared_prefix),
        ("seed", a.workload.seed, b.workload.seed),
        ("requests of each level", a.requests, b.requests),
        ("seconds of each level", a.duration_s, b.duration_s),
        ("warm-up", a.warmup, b.warmup),
        ("style", a.style, b.style),
        ("LoRA adapter", a.lora, b.lora),
        *((f.name, getattr(a.sampling, f.name), getattr(b.sampling, f.name)) for f in fields(a.sampling)),
        ("objectives", objectives(a.objectives), objectives(b.objectives)),
    )
    return tuple(f"{title}: {_told(one)} → {_told(other)}" for title, one, other in pairs if one != other)


def _told(value: object) -> str:
    if value in (None, "", ()):
        return "–"
    return f"{value:,.12g}" if isinstance(value, float) else str(value)


def _of_level(level: Level, first: LoadResult, second: LoadResult) -> Iterator[LoadChange]:
    mine, theirs = ([one for one in result.levels if one.level == level] for result in (first, second))
    if not theirs:
        return
    for title, unit, figure in _FIGURES:
        before, after = ([value for one in side if (value := figure(one)) is not None] for side in (mine, theirs))
        if not before and not after:
            continue
        was, now = fmean(before) if before else None, fmean(after) if after else None
        change = now / was - 1 if was and now is not None else None
        noise = None if change is None or not was else _noise(before, after, was)
        yield LoadChange(level, title, unit, was, now, change, noise)


def _noise(before: Sequence[float], after: Sequence[float], was: float) -> float | None:
    freedom = len(before) + len(after) - 2
    if freedom < 1:
        return None
    squares = sum(variance(side) * (len(side) - 1) for side in (before, after) if len(side) > 1)
    error = math.sqrt(squares / freedom * (1 / len(before) + 1 / len(after)))
    return student(freedom) * error / abs(was)


def student(freedom: int) -> float:
    """Beyond it, on either side, lies 1 case in 20."""
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    z = _NORMAL
    # Cornish and Fisher's expansion; from here on it is right to a thousandth
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
