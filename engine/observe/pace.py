"""When to look again, at moments that all share who look at something over and over: the processor wakes once for many.

On a machine at rest a waking costs about as much as fetching a server's metrics does (`benchmarks.targets`).
"""

import asyncio
import math

BEATS = 10
"""In a second; among them those are spread who look, lest many at one moment keep everybody else waiting"""
TOGETHER = 5


class Pace:
    """For one who looks over and over, from now on; within a running event loop."""

    def __init__(self, number: int = 0) -> None:
        """`number`: of those that look at what there are many of; `TOGETHER` of them share a beat."""
        self._beat_s = number // TOGETHER % BEATS / BEATS
        self._last = asyncio.get_running_loop().time()

    async def rest(self, every_s: float) -> None:
        """Until `every_s` after the last time, to the nearest second's beat; past it, to the next that comes.

        Less than a second is slept as it is.
        """
        now = asyncio.get_running_loop().time()
        self._last = now + every_s if every_s < 1 else next_beat(self._last, every_s, self._beat_s, now)
        await asyncio.sleep(self._last - now)


def next_beat(last: float, every_s: float, beat_s: float, now: float) -> float:
    """Of the beats that are to come, the nearest to `every_s` after `last`; `beat_s`: after each whole second."""
    return max(round(last + every_s - beat_s), math.floor(now - beat_s) + 1) + beat_s
