"""The history of metrics: the last hour in memory, and on disk what outlives the console.

On disk it is one SQLite file in the state folder: means of 10 s for a day, and after that means of a minute for a week.
However much is measured, it holds at most `MOST_BYTES`, and what is written between two looks at its size (some MiB
with 50 deployments): the oldest goes first.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from engine.metrics_reading import Bound, Series
from engine.observe.history_file import MOST_KEYS, HistoryFile, Measured, to_text
from engine.observe.kept_bounds import kept_with, last_value
from engine.observe.timeline import KEPT_S, STEP_S, Timeline

WRITE_EVERY_S = 20.0
MOST_SUBJECTS = 1000
"""In memory; a server may name other GPUs with each scrape"""
CLOSE_S = 0.4
"""How long closing waits for the last to be written"""


class History:
    """By subject: a deployment's name, or `gpu:` and a UUID; and by key, a figure of it. Safe in any thread.

    What is measured is written every 20 s and at the end, in a thread of its own, which also reads what an earlier
    console has left of a subject's last hour. Several consoles may write at once: of one step on disk there is one mean
    of each figure, that of the console which measured more often in it. Nothing is raised where the file cannot be
    read or written; then there is the memory, and `problem` tells.
    """

    def __init__(self, path: Path) -> None:
        self._file = HistoryFile(path)
        self._lock = threading.Lock()
        self._alive: WeakValueDictionary[str, Timeline] = WeakValueDictionary()
        """Every one that somebody may still append to"""
        self._kept: dict[str, Timeline] = {}
        """Those of the last hour"""
        self._written: dict[str, int] = {}
        """The last step of each that is on disk, or that was over before it began here"""
        self._unread: list[str] = []
        self._figures: dict[str, dict[str, Series]] = {}
        """What the keys of a subject mean"""
        self._pins: dict[str, frozenset[str]] = {}
        self._nudge = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def problem(self) -> str:
        """Why the file is not whole; empty when all is well."""
        return self._file.problem

    def open(self) -> None:
        self._thread = threading.Thread(target=self._main, name="metric history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Writes what is not written yet. Blocks for `CLOSE_S` at most."""
        self._closing.set()
        self._nudge.set()
        if self._thread:
            self._thread.join(CLOSE_S)

    # -- the last hour ------------------------------------------------------------------------------------------------

    def timeline(self, subject: str) -> Timeline:
        """The one of this subject; what is on disk of its last hour comes into it soon."""
        with self._lock:
            found = self._kept.get(subject) or self._alive.get(subject)
            if found is None:
                found = self._alive[subject] = Timeline()
                self._written[subject] = int(time.time() // STEP_S) - 1
                self._unread.append(subject)
                self._nudge.set()
            self._kept[subject] = found
            return found

    def append(self, subject: str, at: float, values: Mapping[str, float | None]) -> None:
        self.timeline(subject).append(at, values)

    def describe(self, subject: str, series: Iterable[Series]) -> None:
        """What the keys of a subject mean, in their order, for when nobody measures them any longer."""
        described = {
            one.key: replace(one, value=None, times=(), values=(), bound=Bound.EXACT, word="") for one in series
        }
        with self._lock:
            known = self._figures.get(subject, {})
            former = [(key, one) for key, one in known.items() if key not in described]
            self._figures[subject] = described | dict(former[:MOST_KEYS])

    def figures(self, subject: str) -> tuple[Series, ...]:
        """As they were described last; without times and values."""
        with self._lock:
            return tuple(self._figures.get(subject, {}).values())

    def past(self, subject: str) -> tuple[Series, ...]:
        """Those figures that have a value within the last hour, with the last one. Of one that was not asked for before
        they are read from disk, soon.
        """
        timeline = self.timeline(subject)
        newest = timeline.newest
        if newest is None or newest < time.time() - KEPT_S:
            return ()
        found = []
        for one in self.figures(subject):
            last = last_value(timeline, one.key)
            if last is not None:
                times, values = timeline.points(one.key)
                found.append(replace(one, value=last[0], times=times, values=values, bound=last[1]))
        return tuple(found)

    # -- on disk; these block -----------------------------------------------------------------------------------------

    def measured(self, subject: str, since: float, until: float) -> list[Measured]:
        """Means of what was measured wholly within that time, oldest first, from disk and, where newer, memory."""
        found = {one.at: one for one in self._file.measured(subject, since, until)}
        with self._lock:
            timeline = self._kept.get(subject)
        if timeline:
            for step in timeline.steps(int(since // STEP_S) - 1):
                at = float(step.number * STEP_S)
                if since <= at and at + STEP_S <= until:
                    found[at] = Measured(at, STEP_S, step.samples, step.means)
        return [found[at] for at in sorted(found)]

    def pins(self, name: str) -> frozenset[str]:
        """Families that are pinned for this deployment; from memory after the first time, but for other consoles'."""
        with self._lock:
            if name in self._pins:
                return self._pins[name]
        read = self._file.pins(name)
        if read is None:
            return frozenset()
        with self._lock:
            return self._pins.setdefault(name, read)

    def known_pins(self, name: str) -> frozenset[str] | None:
        """The same from memory; None until the file could be read. Does not block."""
        with self._lock:
            return self._pins.get(name)

    def set_pin(self, name: str, family: str, *, pinned: bool) -> bool:
        """Whether it could be kept for other consoles and later ones; for this one it holds in any case."""
        before = self.pins(name)
        with self._lock:
            self._pins[name] = before | {family} if pinned else before - {family}
        return self._file.set_pin(name, family, pinned=pinned)

    # -- the thread of its own ----------------------------------------------------------------------------------------

    def _main(self) -> None:
        write_at = time.monotonic() + WRITE_EVERY_S
        while not self._closing.is_set():
            self._nudge.wait(max(0.0, write_at - time.monotonic()))
            self._nudge.clear()
            while self._unread and not self._closing.is_set() and self._read(self._unread[0]):
                pass
            if time.monotonic() >= write_at:
                self.write()
                self._file.tidy(time.time())
                write_at = time.monotonic() + WRITE_EVERY_S
        self.write(unfinished=True)

    def _read(self, subject: str) -> bool:
        """Whether it could be done; otherwise it is tried again when it is time to write."""
        now = time.time()
        pins = self._file.pins(subject)
        if pins is None:
            return False
        steps = self._file.steps(subject, now - KEPT_S)
        figures = {one.key: one for one in self._file.figures(subject)}
        with self._lock:
            self._unread.remove(subject)
            timeline = self._kept.get(subject)
            self._figures[subject] = {**figures, **self._figures.get(subject, {})}
            self._pins.setdefault(subject, pins)
        if timeline:
            timeline.put_before(steps)
        return True

    def write(self, *, unfinished: bool = False) -> None:
        """What is not on disk yet. `unfinished`: the step that goes on, too. Blocks."""
        with self._lock:
            self._forget(time.time() - KEPT_S)
            held = dict(self._kept)
            figures = {subject: dict(self._figures.get(subject, {})) for subject in held}
        batch = {}
        for subject, timeline in held.items():
            appended = timeline.appended
            if appended is None:
                continue
            after, last = self._written[subject], int(appended // STEP_S)
            if last < after:  # the clock was set back
                after = last - int(WRITE_EVERY_S // STEP_S) - 2
            if steps := timeline.steps(after, unfinished=unfinished):
                known = set(timeline.keys)
                first = [each for key in figures[subject] if key in known for each in kept_with(key, known)]
                keys = [*first, *sorted(known.difference(first))][:MOST_KEYS]
                batch[subject] = (keys, steps)
                figures[subject] = {key: one for key, one in figures[subject].items() if key in keys}
        described = {subject: to_text(figures[subject].values()) for subject in batch if figures[subject]}
        if batch and self._file.write(batch, described):
            self._written |= {subject: steps[-1].number for subject, (_, steps) in batch.items()}

    def _forget(self, before: float) -> None:
        """Silent for an hour: then there is nothing left to show."""
        for subject, timeline in list(self._kept.items()):
            newest = timeline.newest
            if subject not in self._unread and (newest is not None and newest < before):
                del self._kept[subject]
                self._figures.pop(subject, None)
        silent_longest = sorted(self._kept, key=lambda subject: self._kept[subject].newest or 0.0)
        for subject in silent_longest[: max(0, len(self._kept) - MOST_SUBJECTS)]:
            del self._kept[subject]
            self._figures.pop(subject, None)
        self._unread = [subject for subject in self._unread if subject in self._kept]
        self._written = {subject: at for subject, at in self._written.items() if subject in self._alive}
