"""Rates and quantiles against independent calculations: restarts, missing scrapes, series that come and go, buckets."""

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.metrics_reading import Bound, Series
from engine.observe.metrics import MetricsTracker
from engine.observe.series import histogram_quantile

LONGEST = 60.0
WINDOW = 60.0


def _series(tracker: MetricsTracker, key: str, at: float) -> Series | None:
    return next((series for series in tracker.reading(at).series if series.key == key), None)


# Counters


SEVERAL = st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**9), max_size=3)
SCRAPES = st.lists(st.tuples(st.floats(0.25, 40), st.none() | SEVERAL), min_size=1, max_size=14)
"""After how many seconds, and the counters of each label set; None: no answer"""


def _increase(scrapes: Sequence[tuple[float, Mapping[str, int]]], index: int) -> float | None:
    """Of the label sets of one scrape, straight from what is documented; None: it cannot be compared."""
    at, now = scrapes[index]
    if not index or at - scrapes[index - 1][0] > LONGEST:
        return None
    first = index  # of those scrapes that each can be compared with the one before it
    while first and scrapes[first][0] - scrapes[first - 1][0] <= LONGEST:
        first -= 1
    total = 0.0
    for labels, value in now.items():
        seen = [number for number in range(index) if labels in scrapes[number][1]]
        if not seen:
            total += value
        elif seen[-1] == index - 1 or (seen[-1] >= first and at - scrapes[seen[-1]][0] <= LONGEST):
            earlier = scrapes[seen[-1]][1][labels]
            total += value - earlier if value >= earlier else value
    return total


@given(SCRAPES)
def test_rates_survive_restarts_gaps_and_label_sets_that_come_and_go(
    scrapes: list[tuple[float, dict[str, int] | None]],
) -> None:
    tracker = MetricsTracker("url")
    at = 1e9
    answered: list[tuple[float, Mapping[str, int]]] = []
    for seconds, counters in scrapes:
        at += seconds
        if counters is None:
            tracker.failed("no answer", at)
            continue
        answered.append((at, counters))
        lines = [f'vllm:prompt_tokens_total{{engine="{labels}"}} {count}\n' for labels, count in counters.items()]
        tracker.update("".join(["vllm:num_requests_running 1\n", *lines]), at)
        rate = _series(tracker, "prompt", at)
        grown = _increase(answered, len(answered) - 1)
        if not counters or grown is None:
            assert rate is None or rate.value is None
        else:
            assert rate
            assert rate.value == pytest.approx(grown / (at - answered[-2][0]))


def test_a_counter_that_fell_has_grown_by_what_it_is_now() -> None:
    tracker = MetricsTracker("url")
    for second, count in enumerate((100, 110, 4, 6)):
        tracker.update(f"vllm:prompt_tokens_total {count}\n", 100.0 + second)
    series = _series(tracker, "prompt", 103)
    assert series
    assert series.values == (None, 10, 4, 2)


def test_a_value_that_is_no_number_is_a_gap_and_never_growth() -> None:
    tracker = MetricsTracker("url")
    for second, count in enumerate(("100", "110", "NaN", "500", "510")):
        tracker.update(f"vllm:prompt_tokens_total {count}\n", 100.0 + second)
    series = _series(tracker, "prompt", 104)
    assert series
    assert (series.values[1], series.values[2], series.values[4]) == (10, None, 10)
    assert series.values[3] == 0


def test_a_clock_that_was_set_back_begins_anew() -> None:
    tracker = MetricsTracker("url")
    values = []
    for at, count in ((100.0, 0), (101.0, 10), (50.0, 20), (51.0, 25)):
        tracker.update(f"vllm:prompt_tokens_total {count}\n", at)
        series = _series(tracker, "prompt", at)
        values.append(series.value if series else None)
    assert values == [None, 10, None, 5]


def test_ratios_are_of_the_last_minute() -> None:
    tracker = MetricsTracker("url")
    hits = queries = 0
    for second in range(121):
        hits, queries = hits + (1 if second > 60 else 0), queries + 2
        tracker.update(f"vllm:prefix_cache_hits_total {hits}\nvllm:prefix_cache_queries_total {queries}\n", second)
        series = _series(tracker, "prefix_hits", second)
        if second in (60, 90, 120):
            assert series
            assert series.value == pytest.approx({60: 0.0, 90: 25.0, 120: 50.0}[second])


# Histograms


def monotonic(buckets: Mapping[float, float]) -> dict[float, float]:
    """As Prometheus makes them before it computes a quantile."""
    bounds = sorted(buckets)
    return dict(zip(bounds, accumulate((buckets[bound] for bound in bounds), max), strict=True))


def prometheus(quantile: float, buckets: Mapping[float, float]) -> float:
    """`histogram_quantile` as Prometheus documents it, from the cumulative counts by upper bound."""
    bounds = sorted(buckets)
    if not bounds or bounds[-1] != math.inf or len(bounds) < 2 or not buckets[math.inf]:
        return math.nan
    rank = quantile * buckets[math.inf]
    place = next((place for place, bound in enumerate(bounds[:-1]) if buckets[bound] >= rank), len(bounds) - 1)
    if place == len(bounds) - 1:
        return bounds[-2]
    if place == 0 and bounds[0] <= 0:
        return bounds[0]
    lower, below = (bounds[place - 1], buckets[bounds[place - 1]]) if place else (0.0, 0.0)
    return lower + (bounds[place] - lower) * (rank - below) / (buckets[bounds[place]] - below)


def _told(value: float | None, bound: Bound, quantile: float, buckets: Mapping[float, float]) -> bool:
    """Whether it says what Prometheus does, but for what lies below the first bound or beyond the last."""
    expected = prometheus(quantile, buckets)
    if math.isnan(expected):
        return value is None
    bounds = sorted(buckets)
    rank = quantile * buckets[math.inf]
    if buckets[bounds[0]] >= rank:
        return bound is Bound.BELOW and value == bounds[0] and expected <= bounds[0] + 1e-9
    if buckets[bounds[-2]] < rank:
        return bound is Bound.ABOVE and value == bounds[-2] == expected
    return bound is Bound.EXACT and value == pytest.approx(expected)


BOUNDS = st.lists(st.floats(0.01, 10), min_size=1, max_size=8, unique=True).map(sorted)


@given(BOUNDS, st.lists(st.integers(0, 50), min_size=9, max_size=9), st.floats(0.01, 1))
def test_a_quantile_is_what_prometheus_documents(bounds: list[float], counts: list[int], quantile: float) -> None:
    upper = [*bounds, math.inf]
    buckets = {bound: float(sum(counts[: place + 1])) for place, bound in enumerate(upper)}
    value, bound = histogram_quantile(quantile, upper, list(buckets.values()))
    assert _told(value, bound, quantile, buckets)


@given(st.lists(st.floats(0.001, 20), min_size=1, max_size=200), BOUNDS, st.sampled_from((0.5, 0.9, 0.99)))
def test_a_quantile_lies_in_the_bucket_of_the_observation(
    observed: list[float], bounds: list[float], quantile: float
) -> None:
    """The reference is the observations themselves: the bucket of the one at the rank."""
    upper = [*bounds, math.inf]
    value, bound = histogram_quantile(quantile, upper, [sum(one <= limit for one in observed) for limit in upper])
    at_rank = sorted(observed)[math.ceil(quantile * len(observed)) - 1]
    place = bisect_left(bounds, at_rank)
    assert value is not None
    if place == len(bounds):
        assert (value, bound) == (bounds[-1], Bound.ABOVE)
    elif place == 0:
        assert (value, bound) == (bounds[0], Bound.BELOW)
    else:
        assert bounds[place - 1] - 1e-9 <= value <= bounds[place] + 1e-9
        assert bound is Bound.EXACT


def test_a_quantile_follows_its_observations() -> None:
    observations = [number / 1000 for number in range(1, 2001)]
    bounds = [*(number / 100 for number in range(1, 201)), math.inf]
    value, _ = histogram_quantile(0.5, bounds, [sum(one <= bound for one in observations) for bound in bounds])
    assert value == pytest.approx(statistics.median(observations), abs=0.01)


def test_a_bucket_that_is_ahead_of_its_neighbour() -> None:
    """The server was counting while it was scraped."""
    value, _ = histogram_quantile(0.5, [1.0, 2.0, 3.0, math.inf], [2, 5, 4, 8])
    assert value is not None
    assert 1.0 <= value <= 2.0


@dataclass
class Server:
    """Observes, restarts, perhaps with other bounds, and forgets label sets."""

    bounds: tuple[float, ...] = (0.1, 1.0, 5.0)
    observed: dict[str, list[float]] = field(default_factory=dict)

    def exposed(self) -> dict[str, dict[float, int]]:
        upper = [*self.bounds, math.inf]
        return {of: {bound: sum(one <= bound for one in seen) for bound in upper} for of, seen in self.observed.items()}


EVENTS = st.lists(
    st.tuples(
        st.floats(0.5, 35),
        st.sampled_from(("scrape", "scrape", "scrape", "miss", "restart", "other bounds", "remove")),
        st.sampled_from("ab"),
        st.lists(st.floats(0.01, 10), max_size=6),
    ),
    min_size=1,
    max_size=16,
)


@dataclass
class Reference:
    """What is documented, from the kept scrapes of each label set."""

    last_at: float | None = None
    seen: dict[str, tuple[float, dict[float, int]]] = field(default_factory=dict)
    grown: dict[str, list[tuple[float, dict[float, int]]]] = field(default_factory=dict)

    def take(self, at: float, exposed: Mapping[str, dict[float, int]]) -> bool:
        comparable = self.last_at is not None and at - self.last_at <= LONGEST
        self.last_at = at
        if not comparable:
            self.grown = {}
            self.seen = {of: (-math.inf, buckets) for of, (_, buckets) in self.seen.items()}
        for of, buckets in exposed.items():
            seen_at, earlier = self.seen.get(of, (at, dict.fromkeys(buckets, 0)))
            self.seen[of] = (at, buckets)
            if not comparable:
                continue
            if earlier.keys() != buckets.keys():
                anew = at - seen_at <= LONGEST and buckets[math.inf] < earlier[math.inf]
                self.grown[of] = [(at, buckets)] if anew else []
            elif at - seen_at <= LONGEST:
                fell = any(count < earlier[bound] for bound, count in buckets.items())
                grown = buckets if fell else {bound: count - earlier[bound] for bound, count in buckets.items()}
                self.grown.setdefault(of, []).append((at, grown))
        return comparable

    def window(self, at: float, exposed: Mapping[str, dict[float, int]]) -> dict[float, float]:
        shared = set.intersection(*(set(buckets) for buckets in exposed.values()))
        return {
            bound: float(
                sum(
                    grown[bound]
                    for of in exposed
                    for then, grown in self.grown.get(of, ())
                    if then > at - WINDOW and bound in grown
                )
            )
            for bound in shared
        }


@given(EVENTS)
def test_quantiles_survive_restarts_gaps_label_sets_and_other_bounds(
    events: list[tuple[float, str, str, list[float]]],
) -> None:
    tracker, server, reference = MetricsTracker("url"), Server(), Reference()
    at = 1000.0
    for seconds, what, of, observations in events:
        at += seconds
        match what:
            case "restart":
                server.observed = {}
            case "other bounds":
                server.observed = {}
                server.bounds = (0.5, 1.0, 2.0) if server.bounds[0] == 0.1 else (0.1, 1.0, 5.0)
            case "remove":
                server.observed.pop(of, None)
        server.observed.setdefault(of, []).extend(observations)
        if what == "miss":
            tracker.failed("no answer", at)
            continue
        exposed = server.exposed()
        name = "vllm:time_to_first_token_seconds_bucket"
        lines = [
            f'{name}{{engine="{labels}",le="{"+Inf" if bound == math.inf else bound}"}} {count}'
            for labels, buckets in exposed.items()
            for bound, count in buckets.items()
        ]
        tracker.update("\n".join(lines), at)
        comparable = reference.take(at, exposed)
        for key, quantile in (("ttft_p50", 0.5), ("ttft_p90", 0.9), ("ttft_p99", 0.99)):
            series = _series(tracker, key, at)
            assert series
            if not comparable:
                assert series.value is None
                continue
            assert _told(series.value, series.bound, quantile, monotonic(reference.window(at, exposed)))
