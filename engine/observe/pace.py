"""When to look again, at moments that all share who look at something over and over: the processor wakes once for many.

On a machine at rest a waking costs about as much as fetching a server's metrics does (`benchmarks.targets`).
"""

import asyncio
import math

BEATS = 10
"""In a second; among them those are spread who look, lest many at one moment keep everybody else waiting"""
TOGETHER = 5
LEAST_S = 0.25
"""At least so long it rests, whoever looks: what takes nearly a second to answer is not asked without a pause, and what
a counter grew by between two answers is not of so short a time that it is chance"""


class Pace:
    """For one who looks over and over, from now on; within a running event loop."""

    def __init__(self, number: int = 0) -> None:
        """`number`: of those that look at what there are many of; `TOGETHER` of them share a beat."""
        self._beat_s = number // TOGETHER % BEATS / BEATS
        self._last = asyncio.get_running_loop().time()

    async def rest(self, every_s: float) -> None:
        """Until `every_s` after the last time, in whole seconds, at a second's beat; past it, to the next that comes.

        Less than a second is slept as it is.
        """
        now = asyncio.get_running_loop().time()
        self._last = now + every_s if every_s < 1 else next_beat(self._last, every_s, self._beat_s, now)
        await asyncio.sleep(self._last - now)


def next_beat(last: float, every_s: float, beat_s: float, now: float) -> float:
    """Of the beats that come after `LEAST_S`, the nearest to `every_s` after `last`, which counts in whole seconds.

    `beat_s`: after each of the clock's seconds.
    """
    return max(round(last + math.ceil(every_s) - beat_s), math.ceil(now + LEAST_S - beat_s)) + beat_s
