"""Whether the generator keeps up, by looks at its own event loop: what a short level shows, and what looking costs."""

import asyncio
import time
from array import array
from dataclasses import replace

from engine.load.doubts import doubts
from engine.load.saturation import Watch
from engine.load_plan import Arrival, Level
from engine.load_result import Doubt, Generator

HELD_UP_S = 0.2


def slow(found: Generator) -> bool:
    return Doubt.CLIENT_SLOW in doubts(Level(Arrival.CLOSED, 1), (), (), None, found, stopped=False)


async def test_one_hold_up_makes_a_short_level_doubtful() -> None:
    async with Watch() as watch:
        await asyncio.sleep(0.1)
        time.sleep(HELD_UP_S)  # noqa: ASYNC251 (that is what is measured)
        await asyncio.sleep(0.1)
        assert watch.slow
    found = watch.figures(array("d"))
    assert found.lag.most is not None
    assert found.lag.most > HELD_UP_S / 2
    assert slow(found)


async def test_it_is_looked_at_often_enough_for_a_short_level_and_seldom_enough_to_cost_nothing() -> None:
    began = time.perf_counter()
    async with Watch() as watch:
        await asyncio.sleep(1.0)
        took = time.perf_counter() - began
    looks = watch.figures(array("d")).lag.n
    assert looks <= 20 * took
    assert looks >= 5 or took > 1.5, "of a machine so busy that nothing is on time"


async def test_a_level_of_no_time_has_nothing_against_it() -> None:
    async with Watch() as watch:
        pass
    found = watch.figures(array("d"))
    assert (found.lag.n, found.late.n, slow(replace(found, cpu=None))) == (0, 0, False)
