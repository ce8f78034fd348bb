"""From scrapes to numbers: gauges, rates, ratios, and quantiles of histograms."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.metrics_reading import Bound
from engine.observe.exposition import Exposition
from engine.observe.growth import Growth
from engine.observe.metric_catalog.idea import Idea, Kind, Over
from engine.observe.metric_lines import Line, shortened
from engine.text import clean_line

MOST = 1e30
"""No figure of a server is as large; sums of such numbers overflow"""
MOST_WORD = 300


@dataclass(frozen=True, slots=True)
class Computed:
    value: float | None
    """None where there is no honest number: nothing happened to measure, or nothing to compare with"""
    bound: Bound = Bound.EXACT
    word: str = ""


NOTHING = Computed(None)


def compute(lines: Iterable[Line], now: Exposition, growth: Growth) -> dict[str, Computed]:
    """Each line's number by its key, without those that are not shown yet."""
    values = now.values
    counts: dict[tuple[tuple[int, ...], ...], Sequence[float]] = {}
    found: dict[str, Computed] = {}
    for line in lines:
        idea, numbers = line.idea, line.numbers
        if line.once_counted and not any(values[number] for number in numbers):
            continue
        value: float | None = None
        bound = Bound.EXACT
        match idea.kind:
            case Kind.GAUGE | Kind.SUMMARY:
                value = _gauge(idea, values, numbers)
            case Kind.RATE:
                value = _rate(growth, numbers)
            case Kind.QUANTILE if line.histogram and _known(growth, numbers):
                grown = counts.get(line.histogram.sets)
                if grown is None:
                    grown = counts[line.histogram.sets] = line.histogram.counts(growth.window)
                value, bound = histogram_quantile(idea.quantile, line.histogram.bounds, grown)
            case Kind.RATIO if _known(growth, numbers) and _known(growth, line.per):
                value = _quotient(growth.window, numbers, line.per)
            case Kind.SHARE:
                value = _quotient(values, numbers, line.per)
            case Kind.WORD:
                found[line.key] = Computed(None, word=_word(idea, now, numbers))
                continue
        if value is not None:
            value = value * idea.scale + idea.offset
            if not -MOST < value < MOST:  # NaN and infinities, too
                value, bound = None, Bound.EXACT
        found[line.key] = Computed(value, bound) if value is not None else NOTHING
    return found


def _gauge(idea: Idea, values: Sequence[float], numbers: tuple[int, ...]) -> float | None:
    if len(numbers) == 1:
        value = values[numbers[0]]
    elif idea.over is Over.SUM:
        value = sum([values[number] for number in numbers])
    else:
        value = max((values[number] for number in numbers if math.isfinite(values[number])), default=math.nan)
    return value if value >= idea.least else None


def _rate(growth: Growth, numbers: tuple[int, ...]) -> float | None:
    if not _known(growth, numbers) or not growth.seconds:
        return None
    step = growth.step
    return sum([step[number] for number in numbers if number in step]) / growth.seconds


def _known(growth: Growth, numbers: tuple[int, ...]) -> bool:
    return growth.seconds is not None and (not growth.unknown or growth.unknown.isdisjoint(numbers))


def _quotient(values: Sequence[float], above: Iterable[int], below: Iterable[int]) -> float | None:
    per = sum([values[number] for number in below])
    return sum([values[number] for number in above]) / per if per > 0 else None


def _word(idea: Idea, now: Exposition, numbers: Iterable[int]) -> str:
    """Of each engine the label set with the highest value: it is the newest, or the one that holds."""
    newest: dict[str, tuple[float, Mapping[str, str]]] = {}
    for number in numbers:
        labels, value = dict(now.slots[number].labels), now.values[number]
        engine = labels.get("engine", "")
        if engine not in newest or value > newest[engine][0]:
            newest[engine] = (value, labels)
    said = {
        word
        for _, labels in newest.values()
        for label in idea.labels
        for part in labels.get(label, "").split(",")
        if (word := clean_line(part).strip())
    }
    words = idea.words or {}
    return shortened(", ".join(words.get(word, word) for word in sorted(said or {""})), MOST_WORD)


def histogram_quantile(quantile: float, bounds: Sequence[float], counts: Sequence[float]) -> tuple[float | None, Bound]:
    """Prometheus' `histogram_quantile`: linear within the bucket that holds the rank.

    `counts` are cumulative, by upper bound, the last of which is +Inf. None without observations. What lies in the
    lowest bucket is not interpolated from 0, as Prometheus does: nothing is known but that it is below that bound.
    Beyond the highest finite bound, it is that bound.
    """
    if len(counts) < 2 or bounds[-1] != math.inf or not (total := max(counts)) > 0:
        return None, Bound.EXACT
    rank = quantile * total
    count_below = 0.0
    for place, bound in enumerate(bounds[:-1]):
        # A lower bucket can be ahead of its neighbour: servers count in one after the other, and after a restart that
        # no bucket shows, each has grown by what it is more than it was.
        count = max(counts[place], count_below)
        if count >= rank:
            if place == 0:
                return bound, Bound.BELOW
            lower = bounds[place - 1]
            share = (rank - count_below) / (count - count_below)
            return min(bound, lower + (bound - lower) * share), Bound.EXACT  # rounded, it may come out beyond it
        count_below = count
    return bounds[-2], Bound.ABOVE
