"""Keeps what a deployment's Prometheus endpoint said as series over time."""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.errors import NotFound
from engine.freshness import Freshness
from engine.metrics_reading import Family, Group, MetricsReading, Series
from engine.observe.exposition import Exposition, ExpositionError, ExpositionReader
from engine.observe.growth import Growth
from engine.observe.kept_bounds import with_bounds
from engine.observe.metric_catalog import CATALOGUE, GPU_FAMILIES, WANTED
from engine.observe.metric_catalog.idea import FRACTION_TO_PERCENT
from engine.observe.metric_families import families, pinned_ideas, unreported_series, with_pins
from engine.observe.metric_lines import MOST_PARTS, Line, lines
from engine.observe.scrape import rubbish
from engine.observe.series import MOST, NOTHING, Computed, compute
from engine.observe.timeline import MOST_KEYS, Timeline
from engine.text import clean_line

STALE_AFTER_S = 5.0
MOST_KNOWN = 2 * MOST_KEYS
"""Lines that are remembered for their past: of a server whose parts change, those that have one"""
MOST_GPUS = 64


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """What a server reports of one GPU; None where it does not. Memory in bytes, power in watts."""

    uuid: str
    utilization: float | None
    """In %"""
    memory_used: int | None
    memory_total: int | None
    power: float | None
    power_limit: float | None
    energy: float | None
    """Joules since the server started"""


class MetricsTracker:
    """The metrics of one deployment over time. One task feeds it; everything else may be called from any thread."""

    def __init__(self, url: str, pins: frozenset[str] = frozenset(), timeline: Timeline | None = None) -> None:
        """`pins`: names of families to show beside the catalogue's. `timeline`: where the past is kept."""
        self.url = url
        self.timeline = timeline or Timeline()
        self._reader = ExpositionReader(WANTED)
        self._growth = Growth()
        self._lock = threading.Lock()
        self._pins = pins
        self._pins_taken: frozenset[str] = frozenset()
        self._unreported: frozenset[str] = frozenset()
        """Those of the pins that the last scrape has not"""
        self._reported: tuple[Sequence[str], tuple[Family, ...]] = ((), ())
        """The lines of a scrape, and the families in it"""
        self._lines: tuple[Line, ...] = ()
        self._now: Exposition | None = None
        self._known: dict[str, Line] = {}
        """All lines that there ever were, by key"""
        self._computed: Mapping[str, Computed] = {}
        self._every_s = 0.0
        self._succeeded_at: float | None = None
        self._failure = ""
        self._drawn: tuple[Series, ...] | None = ()

    def update(self, text: str, at: float) -> None:
        """Takes the text of a scrape. Raises `MetricsError` when it is no exposition; that counts as no scrape."""
        pins = self._pins
        if pins != self._pins_taken:
            self._reader.want(pins)
        try:
            now = self._reader.read(text)
        except ExpositionError as error:
            raise rubbish(self.url, error.line) from error
        known_lines = self._lines
        if self._now is None or now.present is not self._now.present or pins != self._pins_taken:
            self._pins_taken = pins
            reported = families(self._reader.lines, pins) if pins else ()
            self._unreported = pins.difference(family.name for family in reported)
            known_lines = lines((*pinned_ideas(reported), *CATALOGUE), now)
        self._growth.update(now, at)
        computed = compute(known_lines, now, self._growth)
        values = with_bounds(computed)
        with self._lock:
            if known_lines is not self._lines:
                self._lines = known_lines
                self._known |= {line.key: line for line in known_lines}
                if len(self._known) > MOST_KNOWN:
                    kept = {*self.timeline.keys, *computed}
                    self._known = {key: line for key, line in self._known.items() if key in kept}
            self._now = now
            self._computed = computed
            self._succeeded_at = at
            self._failure = ""
            self._drawn = None
        self.timeline.append(at, values)

    def paced(self, every_s: float) -> None:
        """It is asked at intervals of so many seconds, because there is so much to read in what it answers."""
        with self._lock:
            self._every_s = every_s

    def failed(self, message: str, at: float) -> None:
        """Notes that a scrape failed: a gap in every series."""
        with self._lock:
            self._failure = message
            begun = self._succeeded_at is not None
            self._drawn = None
        if begun:
            self.timeline.append(at, {})

    def reading(self, now: float) -> MetricsReading:
        """What is known at `now`; values stay while they are stale, and the message says since when they are."""
        with self._lock:
            drawn = self._drawn
        if drawn is None:
            drawn = self._draw()
        told, missing = self._told(now, drawn), sorted(self._unreported & self._pins)
        if not (told.series and missing):
            return told
        every = (*drawn, *map(unreported_series, missing))
        return replace(told, series=tuple(sorted(every, key=lambda one: one.group is not Group.PINNED)))

    def current(self, now: float, past: Collection[str] = ()) -> MetricsReading:
        """The same with the past of these keys only, which costs much less."""
        with self._lock:
            shown = [(line, computed) for line in self._lines if (computed := self._computed.get(line.key))]
        series = tuple(
            _series(line, computed, *(self.timeline.points(line.key) if line.key in past else ()))
            for line, computed in shown
        )
        return self._told(now, series)

    def has_counted(self, keys: Collection[str]) -> bool:
        """Whether any of the counters that these are computed from was not 0 at the last scrape."""
        with self._lock:
            now, known_lines = self._now, self._lines
        numbers = (number for line in known_lines if line.key in keys for number in line.numbers)
        return now is not None and any(now.values[number] for number in numbers)

    def families(self) -> tuple[Family, ...]:
        """All that was reported last, by name, and what is pinned and was not."""
        exposed, pins = self._reader.lines, self._pins
        known_lines, known = self._reported
        if known_lines is not exposed:
            known = families(exposed)
            self._reported = (exposed, known)
        return with_pins(known, pins) if exposed else ()

    def pin(self, family: str, *, pinned: bool) -> frozenset[str]:
        """From the next scrape on; all that are pinned now. Raises `NotFound` for a family that is not reported."""
        if pinned and all(one.name != family for one in self.families()):
            raise NotFound(f"{self.url} reports no family {clean_line(family)}.", "Pin one that it reports.")
        with self._lock:
            self._pins = self._pins | {family} if pinned else self._pins - {family}
            if not pinned:
                self._known = {key: line for key, line in self._known.items() if not _is_pin(line, family)}
            return self._pins

    def also_pin(self, pins: frozenset[str]) -> None:
        """What was pinned before; as `pin`, but that it may not be reported yet."""
        with self._lock:
            self._pins |= pins

    @property
    def pins(self) -> frozenset[str]:
        return self._pins

    @property
    def succeeded_at(self) -> float | None:
        """When the last scrape succeeded; seconds since the epoch."""
        return self._succeeded_at

    def gpus(self) -> tuple[GpuFigures, ...]:
        """Of the last scrape, by UUID; none when the server reports none."""
        now = self._now
        if now is None:
            return ()
        found: dict[str, dict[str, float]] = {}
        for number in now.present:
            slot, value = now.slots[number], now.values[number]
            uuid = dict(slot.labels).get("gpu_uuid", "") if slot.name in GPU_FAMILIES else ""
            if uuid and 0 <= value < MOST:
                found.setdefault(clean_line(uuid), {})[slot.name] = value
        return tuple(_figures(uuid, values) for uuid, values in sorted(found.items())[:MOST_GPUS])

    def _draw(self) -> tuple[Series, ...]:
        with self._lock:
            computed, shown = self._computed, self._lines
            past = [line for key, line in self._known.items() if key not in computed]
            past = [line for line in past if not any(_is_pin(line, family) for family in self._unreported)]
        with_past = [line for line in past if self.timeline.points(line.key)[0]]
        ordered = sorted([line for line in shown if line.key in computed] + with_past, key=lambda line: line.order)
        drawn = tuple(
            _series(line, computed.get(line.key, NOTHING), *self.timeline.points(line.key)) for line in ordered
        )
        with self._lock:
            if computed is self._computed:
                self._drawn = drawn
        return drawn

    def _told(self, now: float, series: tuple[Series, ...]) -> MetricsReading:
        at, failure, every_s = self._succeeded_at, self._failure, self._every_s
        if at is None:
            freshness = Freshness.FAILED if failure else Freshness.LOADING
            return MetricsReading(at=None, freshness=freshness, url=self.url, message=failure)
        if not -STALE_AFTER_S <= now - at <= STALE_AFTER_S + every_s:  # the clock may have been set back
            since = time.strftime("%H:%M:%S", time.localtime(at))
            message = f"No metrics since {since}. {failure}".rstrip()
            return MetricsReading(at=at, freshness=Freshness.STALE, url=self.url, message=message, series=series)
        message = "" if series else f"{self.url} reports no metrics that tritontui knows."
        if every_s:
            message = f"There is so much to read in its metrics that they are read every {every_s:.0f} s only."
        elif sum(bool(one.of) for one in series) >= MOST_PARTS:
            message = f"It reports more parts than the {MOST_PARTS} that are shown."
        return MetricsReading(at=at, freshness=Freshness.FRESH, url=self.url, message=message, series=series)


def _series(
    line: Line, computed: Computed, times: tuple[float, ...] = (), values: tuple[float | None, ...] = ()
) -> Series:
    return Series(
        key=line.key,
        title=line.title,
        unit=line.idea.unit,
        value=computed.value,
        source=line.source,
        times=times,
        values=values,
        group=line.group,
        of=line.of,
        bound=computed.bound,
        word=computed.word,
    )


def _is_pin(line: Line, family: str) -> bool:
    return line.idea.group is Group.PINNED and line.idea.names == (family,)


def _figures(uuid: str, values: Mapping[str, float]) -> GpuFigures:
    utilization, used, total = (values.get(family) for family in GPU_FAMILIES[:3])
    return GpuFigures(
        uuid,
        None if utilization is None or utilization > 1 else utilization * FRACTION_TO_PERCENT,
        None if used is None else int(used),
        None if total is None else int(total),
        *(values.get(family) for family in GPU_FAMILIES[3:]),
    )
