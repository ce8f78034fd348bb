"""When requests are meant to be sent."""

import math
import time
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.load.schedule import arrivals, sleep_until
from engine.load_plan import Arrival

RATES = st.floats(0.01, 5000)


def first(arrival: Arrival, rate: float, count: int, seed: str = "0") -> list[float]:
    return list(islice(arrivals(arrival, rate, seed), count))


@given(RATES)
def test_constant_is_even_and_does_not_drift(rate: float) -> None:
    times = first(Arrival.CONSTANT, rate, 1000)
    assert times[0] == 0
    assert times[-1] == pytest.approx(999 / rate, rel=1e-12)
    assert all(later - earlier == pytest.approx(1 / rate, rel=1e-6) for earlier, later in pairwise(times))


@pytest.mark.parametrize("seed", ["0", "1", "17 3", "-5"])
@pytest.mark.parametrize("rate", [0.5, 20.0, 900.0])
def test_poisson_has_the_rate_and_exponential_gaps(rate: float, seed: str) -> None:
    count = 5000
    times = first(Arrival.POISSON, rate, count, seed)
    assert count / times[-1] == pytest.approx(rate, rel=4 / math.sqrt(count)), "within four standard deviations"
    gaps = sorted(later - earlier for earlier, later in pairwise([0.0, *times]))
    # Kolmogorov and Smirnov's distance to the exponential distribution; 1.95 is passed once in a thousand.
    distance = max(
        abs((place + half) / count - (1 - math.exp(-rate * gap))) for place, gap in enumerate(gaps) for half in (0, 1)
    )
    assert distance < 1.95 / math.sqrt(count)


def test_poisson_has_no_memory() -> None:
    """A gap says nothing about the next one."""
    gaps = [later - earlier for earlier, later in pairwise(first(Arrival.POISSON, 1.0, 5000))]
    mean = sum(gaps) / len(gaps)
    spread = sum((gap - mean) ** 2 for gap in gaps)
    together = sum((one - mean) * (other - mean) for one, other in pairwise(gaps))
    assert abs(together / spread) < 4 / math.sqrt(len(gaps))


@given(RATES, st.text(max_size=5))
def test_the_same_seed_gives_the_same_times_and_another_others(rate: float, seed: str) -> None:
    assert first(Arrival.POISSON, rate, 20, seed) == first(Arrival.POISSON, rate, 20, seed)
    assert first(Arrival.POISSON, rate, 20, seed) != first(Arrival.POISSON, rate, 20, f"{seed}'")


async def test_it_wakes_at_the_time_and_not_before_and_not_at_all_late_for_what_has_passed() -> None:
    due = time.perf_counter() + 0.03
    await sleep_until(due)
    assert time.perf_counter() >= due - 1e-4
    passed = time.perf_counter()
    await sleep_until(passed - 100)
    assert time.perf_counter() - passed < 5
