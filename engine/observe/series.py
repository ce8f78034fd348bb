"""From two scrapes to a number: increases of counters, ratios of them, and quantiles of histograms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from engine.observe.exposition import Exposition, Labels
from engine.observe.metric_catalog import Idea, Kind, Over


@dataclass(frozen=True, slots=True)
class Computed:
    value: float | None
    """None where there is no honest number: nothing happened to measure, or a counter began anew"""
    source: str


def compute(idea: Idea, before: Exposition | None, now: Exposition, seconds: float) -> Computed | None:
    """The idea's number for the `seconds` between two scrapes; None when the server does not report it at all.

    `before` is None when there is nothing to compare with: then only gauges have a value.
    """
    match idea.kind:
        case Kind.GAUGE:
            computed = _gauge(idea, now)
        case Kind.RATE:
            computed = _rate(idea, before, now, seconds)
        case Kind.RATIO:
            computed = _ratio(idea, before, now)
        case Kind.QUANTILE:
            computed = _quantile(idea, before, now)
    if computed is None or computed.value is None:
        return computed
    value = computed.value * idea.scale
    return Computed(value if math.isfinite(value) else None, computed.source)


def _gauge(idea: Idea, now: Exposition) -> Computed | None:
    name = now.scalar(idea.families)
    if name is None:
        return None
    values = now.scalars[name].values()
    if len(values) == 1:
        return Computed(next(iter(values)), name)
    return Computed(sum(values) if idea.over is Over.SUM else max(values), f"{idea.over} of {name}")


def _rate(idea: Idea, before: Exposition | None, now: Exposition, seconds: float) -> Computed | None:
    name = now.scalar(idea.families)
    if name is None:
        return None
    grown = _grown(name, before, now)
    return Computed(None if grown is None else grown / seconds, f"rate of {name}")


def _ratio(idea: Idea, before: Exposition | None, now: Exposition) -> Computed | None:
    name, per = now.scalar(idea.families), now.scalar(idea.per)
    if name is None or per is None:
        return None
    above, below = _grown(name, before, now), _grown(per, before, now)
    value = above / below if above is not None and below else None
    return Computed(value, f"increase of {name} per increase of {per}")


def _quantile(idea: Idea, before: Exposition | None, now: Exposition) -> Computed | None:
    name = now.histogram(idea.families)
    if name is None:
        return None
    value = None
    if before is not None and name in before.buckets:
        grown = bucket_increase(before.buckets[name], now.buckets[name])
        value = None if grown is None else histogram_quantile(idea.quantile, grown)
    return Computed(value, f"p{idea.quantile * 100:g} of {name} between scrapes, interpolated in its buckets")


def _grown(name: str, before: Exposition | None, now: Exposition) -> float | None:
    if before is None or name not in before.scalars:
        return None
    return increase(before.scalars[name], now.scalars[name])


def increase(before: Mapping[Labels, float], now: Mapping[Labels, float]) -> float | None:
    """Growth of a counter over all label sets that both scrapes have.

    None when there is none, and when any fell: the server began anew, and what happened in between is not known.
    """
    total: float | None = None
    for labels, value in now.items():
        earlier = before.get(labels)
        if earlier is None:
            continue
        if value < earlier:
            return None
        total = (total or 0.0) + value - earlier
    return total


def bucket_increase(
    before: Mapping[Labels, Mapping[float, float]], now: Mapping[Labels, Mapping[float, float]]
) -> dict[float, float] | None:
    """Growth of a histogram's cumulative buckets by upper bound, over all label sets. None as for `increase`."""
    grown: dict[float, float] = {}
    for labels, buckets in now.items():
        earlier = before.get(labels)
        if earlier is None or earlier.keys() != buckets.keys():
            continue
        for bound, count in buckets.items():
            if count < earlier[bound]:
                return None
            grown[bound] = grown.get(bound, 0.0) + count - earlier[bound]
    return grown or None


def histogram_quantile(quantile: float, buckets: Mapping[float, float]) -> float | None:
    """Prometheus' `histogram_quantile`: linear within the bucket that holds the rank, from 0 in the lowest.

    `buckets` are cumulative counts by upper bound, with one for +Inf. None without observations. A rank beyond the
    highest finite bound gives that bound.
    """
    bounds = sorted(buckets)
    if len(bounds) < 2 or bounds[-1] != math.inf or not buckets[math.inf] > 0:
        return None
    rank = quantile * buckets[math.inf]
    lower = count_below = 0.0
    for bound in bounds[:-1]:
        # Servers update buckets one by one: a scrape in between may see a lower one ahead of its neighbour.
        count = max(buckets[bound], count_below)
        if count >= rank:
            return lower + (bound - lower) * (rank - count_below) / (count - count_below)
        lower, count_below = bound, count
    return bounds[-2]
