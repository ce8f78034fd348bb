"""Whether the generator itself keeps up: how late its event loop wakes, how late it sends, and what it computes."""

import asyncio
import contextlib
import gc
import time
from array import array
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from engine.load.doubts import MOST_CPU, MOST_LAG_S
from engine.load.statistics import digest
from engine.load_result import LEAST_FOR_P99, Generator

TICK_S = 0.05
"""Each look wakes the processor: fifty a second cost 0.6 % of a core"""
YOUNG = 10_000
"""Objects after which the young ones are looked over; the old ones are not at all, see `quiet`"""


class Watch:
    """Ticks from its beginning to its end. Belongs to one event loop."""

    def __init__(self) -> None:
        self._lag = array("d")
        self._late_ticks = 0
        self._began = self._cpu = 0.0
        self._ended: tuple[float, float] | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._began, self._cpu = time.perf_counter(), time.process_time()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = time.perf_counter(), time.process_time()
        if self._ticking:
            self._ticking.cancel()

    def figures(self, late: "array[float]") -> Generator:
        """So far, or of all when it has ended. `late`: by how much each sending was."""
        now, cpu = self._ended or (time.perf_counter(), time.process_time())
        seconds = now - self._began
        return Generator(digest(self._lag), digest(late), (cpu - self._cpu) / seconds if seconds > 0 else None)

    @property
    def slow(self) -> bool:
        """What `engine.load.doubts` will say of all, so far, but for what is sent late; cheap."""
        now = time.perf_counter()
        full = now > self._began and (time.process_time() - self._cpu) / (now - self._began) > MOST_CPU
        ticks = len(self._lag)
        return full or self._late_ticks > ticks * (0.01 if ticks >= LEAST_FOR_P99 else 0.05)

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            lag = max(0.0, time.perf_counter() - due)
            self._lag.append(lag)
            self._late_ticks += lag > MOST_LAG_S


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Meanwhile no collection of garbage goes through all objects, which takes the longer the more was recorded."""
    gc.collect()
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(YOUNG, thresholds[1], 1 << 30)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
