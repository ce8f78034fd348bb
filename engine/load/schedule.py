"""When requests are meant to be sent: times from a level's start on, whatever becomes of the requests before.

A generator that sleeps after each sending, or that waits for an answer, sends less just when the server is slow, and
never measures what those who would have asked meanwhile waited for ("coordinated omission").
"""

import asyncio
import random
import time
from collections.abc import Iterator
from itertools import count

from engine.load_plan import Arrival


def arrivals(arrival: Arrival, rate: float, seed: str) -> Iterator[float]:
    """Without end; seconds from 0 on. Poisson: gaps are exponential, the one before the first included."""
    if arrival is Arrival.CONSTANT:
        return (number / rate for number in count())
    return _poisson(rate, seed)


def _poisson(rate: float, seed: str) -> Iterator[float]:
    chosen = random.Random(f"arrivals {seed}")  # noqa: S311 (to be repeated, not to be secret)
    at = 0.0
    while True:
        at += chosen.expovariate(rate)
        yield at


async def sleep_until(due: float) -> None:
    """`due`: on the clock of `time.perf_counter`. Lets others run even when it has passed.

    Wakes up to 1 ms late: the event loop's timers have that grain.
    """
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
