"""Load tests that were begun from this console. Knows no widget."""

import time
from collections import deque
from dataclasses import dataclass, field

from engine.api import Cancel
from engine.load_plan import LoadPlan
from engine.load_result import LoadEvent, LoadProgress, LoadResult
from engine.metrics_reading import Mark, Series
from tui import format as fmt

SAMPLES = 4096
"""Half an hour of them"""
SILENT_S = 5.0
"""It tells twice a second: silence for so long is worth a word"""
CHARTED = (
    ("throughput", "Output", "tok/s"),
    ("ttft_p50", "TTFT p50", "s"),
    ("ttft_p95", "TTFT p95", "s"),
)


@dataclass(eq=False)
class LoadRun:
    """One load test. `receive` may be called on any thread; all else belongs to the screen's."""

    deployment: str
    plan: LoadPlan
    began_at: float = field(default_factory=lambda: fmt.now())
    cancel: Cancel | None = None
    stopping: bool = False
    progress: LoadProgress | None = None
    result: LoadResult | None = None
    marks: list[Mark] = field(default_factory=list)
    """Where its levels began"""
    _heard: float = field(default_factory=time.monotonic)
    _announced: bool = False
    """A message says that there is something to take, and was not handled yet"""
    _incoming: deque[LoadEvent] = field(default_factory=deque)
    _samples: deque[tuple[float, float | None, float | None, float | None]] = field(
        default_factory=lambda: deque(maxlen=SAMPLES)
    )

    def receive(self, event: LoadEvent) -> bool:
        """Whether it has to be announced."""
        self._incoming.append(event)
        announced, self._announced = self._announced, True
        return not announced

    def take(self) -> None:
        """What has come since the last call."""
        self._announced = False  # before looking: what comes from here on is announced again
        while self._incoming:
            event = self._incoming.popleft()
            self._heard = time.monotonic()
            if isinstance(event, LoadResult):
                self.result = event
                continue
            if self.progress is None or self.progress.number != event.number:
                self.marks.append(Mark(fmt.now(), event.level.words))
            self.progress = event
            self._samples.append((fmt.now(), event.output_tokens_per_s, event.ttft.p50, event.ttft.p95))

    def stop(self) -> None:
        if not self.stopping:
            self.stopping = True
            if self.cancel:
                self.cancel()

    @property
    def silent_s(self) -> float:
        """For how long it has told nothing; 0 while that means nothing."""
        silent = time.monotonic() - self._heard
        return silent if self.result is None and silent > SILENT_S else 0.0

    @property
    def seconds(self) -> float:
        return max(0.0, fmt.now() - self.began_at)

    def series(self) -> tuple[Series, ...]:
        """Output, and the median and p95 of TTFT, over the time of the test."""
        times = tuple(sample[0] for sample in self._samples)
        found = []
        for column, (key, title, unit) in enumerate(CHARTED, start=1):
            values = tuple(sample[column] for sample in self._samples)
            found.append(Series(key, title, unit, values[-1] if values else None, "", times, values))
        return tuple(found)
