"""When messages came that another thread has received, and that the event loop is told of and reads one by one."""

import asyncio
import time

TICK_S = 0.05


class Arrivals:
    """Of one event loop. What cannot be known is when the system had a message; `lag_s` says how late that can be.

    Of a burst, the loop reads one message after the other, each in a task of its own. All that was scheduled before the
    first of them was read had come before it, so they have one time: that the others waited for their turn is not
    theirs. `asyncio` runs what is scheduled in order, by which the time's end is known.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._at: float | None = None
        self._streams = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.lag_s = 0.0
        """The longest time that the loop was late to a timer while it waited for messages: so late can they be, too.

        Up to 1 ms of it is the timer's own grain."""

    def now(self) -> float:
        """When the message came that was just read, on the clock of `time.perf_counter`."""
        if self._at is None:
            self._at = time.perf_counter()
            self._loop.call_soon(self._read_all)
        return self._at

    def __enter__(self) -> None:
        """Some are waited for, until the exit."""
        self._streams += 1
        if self._timer is None:
            self._wait()

    def __exit__(self, *_: object) -> None:
        self._streams -= 1
        if not self._streams and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read_all(self) -> None:
        self._at = None

    def _wait(self) -> None:
        self._due = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self.lag_s = max(self.lag_s, self._loop.time() - self._due)
        self._wait()
