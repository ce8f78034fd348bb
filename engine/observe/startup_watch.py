"""Follows the start of one deployment, in its log and in the files that it fetches."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from engine.deployment import Deployment
from engine.errors import EngineError
from engine.freshness import Freshness
from engine.log_line import LogLine
from engine.observe.log_tail import read_lines
from engine.observe.logs import LogReader
from engine.observe.startup import StartupTracker
from engine.observe.startup_files import Download
from engine.runtimes.base import Runtime
from engine.startup import Startup

if TYPE_CHECKING:
    from engine.launches import Phases

LOOK_EVERY_S = 1.0
PAUSE_S = 0.2
"""Between two looks at least, however fast the log is written"""
LAST_LOOK_S = 2.0
MAX_LINES = 20_000
MAX_BYTES = 8 << 20
"""Held of what has not been looked at yet; a log that is written faster than it is read loses lines, and no more"""
BEGINNING_BYTES = 4 << 20
BEGINNING_S = 5.0
"""How much of the log of one that is ready already is read"""
SERVING_S = 60.0
"""What comes so long after the last word about its endpoints is no longer its start"""
EARLY_S = 0.1
"""By so much the first line may seem to be older than the run: their times are told by two programs"""
ENGINES = {"vllm", "triton-vllm", "triton-trtllm"}
_BARS = ("%|", "% Completed |")


class StartupWatch:
    """Two daemon threads read and one follows, from when it is made until it is ready or closed.

    All may be called from any thread, and nothing waits but `finish`.
    """

    def __init__(
        self,
        runtime: Runtime,
        deployment: Deployment,
        *,
        files: Callable[[], Path | None] | None = None,
        usual: "Callable[[], Phases] | None" = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`files`: what `model_folder` says. It and `usual` are asked once, and may block.

        `changed`: told when `startup` differs.
        """
        self._runtime = runtime
        self._deployment = deployment
        self._ask_files = files
        self._download: Download | None = None
        self._ask_usual = usual
        self._usual: Phases = ()
        self._changed = changed
        self._since = deployment.started_at or deployment.created_at
        self._tracker = StartupTracker(self._since, engine=deployment.stack in ENGINES)
        self._latest = self._tracker.startup()
        self._next = 0
        self._held: LogLine | None = None
        """The last line, which may not be complete"""
        self._ready_at: float | None = None
        self._news = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"start of {deployment.name}", daemon=True)
        self._thread.start()

    def startup(self) -> Startup:
        return self._latest

    @property
    def goes_on(self) -> bool:
        """It is neither ready nor closed."""
        return not self._closing.is_set()

    def ready(self, at: float) -> None:
        """It has answered, at this time: what its log has told by now is taken in, and that was it."""
        if not self._closing.is_set():
            self._ready_at = at
            self.close()

    def finish(self, at: float) -> Startup:
        """As `ready`, and waits until all is taken in, `LAST_LOOK_S` at most."""
        self.ready(at)
        self._thread.join(LAST_LOOK_S)
        return self._latest

    def close(self) -> None:
        self._closing.set()
        self._news.set()

    def _follow(self) -> None:
        if self._ask_files and (folder := self._ask_files()):
            self._download = Download(folder)
        if self._ask_usual:
            self._usual = self._ask_usual()
        with closing(self._reader()) as reader:
            while not self._closing.wait(PAUSE_S):
                self._look(reader, still=not self._news.wait(LOOK_EVERY_S))
                self._news.clear()
            self._look(reader, still=True)
        if self._ready_at is not None:
            self._tracker.ready(self._ready_at)
            self._publish("")

    def _reader(self) -> LogReader:
        facts = (self._runtime, self._deployment.name, self._news.set)
        return LogReader(*facts, since=self._since - EARLY_S, max_lines=MAX_LINES, max_bytes=MAX_BYTES)

    def _look(self, reader: LogReader, *, still: bool) -> None:
        """`still`: nothing has come for a while, so that the last line is as complete as it gets."""
        lines = reader.lines(max(self._next, reader.first), reader.end)
        for line in lines[:-1]:
            self._take(line)
        if lines:
            self._next = lines[-1].seq
            self._last(lines[-1], still=still)
        if self._download and self._tracker.is_fetching and (files := self._download.look()):
            self._tracker.download(time.time(), files.done, files.total)
        self._publish(reader.message if reader.freshness in (Freshness.STALE, Freshness.FAILED) else "")

    def _last(self, line: LogLine, *, still: bool) -> None:
        if any(bar in line.text for bar in _BARS):
            self._tracker.add(_time(line), line.text)  # it goes on, and what it says counts at once
        if still:
            self._take(line)
            self._held = line

    def _take(self, line: LogLine) -> None:
        taken = self._held
        if taken is None or (taken.seq, taken.text) != (line.seq, line.text):
            at = _time(line)
            if at is None or at >= self._since - EARLY_S:
                self._tracker.add(at, line.text)

    def _publish(self, problem: str) -> None:
        startup = self._tracker.startup(self._usual, problem)
        if startup != self._latest:
            self._latest = startup
            self._changed()


def read_beginning(runtime: Runtime, deployment: Deployment) -> Startup | None:
    """The start of one that is ready already, as far as the beginning of its log still tells. Blocks.

    None when that tells nothing. It counts as ready from the last line about its endpoints on.
    """
    since = deployment.started_at or deployment.created_at
    tracker = StartupTracker(since, engine=deployment.stack in ENGINES)
    try:
        with closing(read_lines(runtime, deployment.name, tail=None, follow=False, since=since - EARLY_S)) as lines:
            _read(tracker, lines, since - EARLY_S)
    except EngineError:
        return None
    startup = tracker.startup()
    served_at = tracker.served_at
    if served_at is None:
        # Its log ends before its endpoints, or no longer begins at its start: figures, and no times.
        return Startup(since, reported=startup.reported) if startup.reported else None
    tracker.ready(served_at)
    return tracker.startup()


def _read(tracker: StartupTracker, lines: Iterable[LogLine], since: float) -> None:
    left, deadline = BEGINNING_BYTES, time.monotonic() + BEGINNING_S
    for line in lines:
        at = _time(line)
        if at is None or at >= since:
            tracker.add(at, line.text)
        left -= len(line.text) + 1
        served_at = tracker.served_at
        served = served_at is not None and at is not None and at > served_at + SERVING_S
        if served or left < 0 or time.monotonic() > deadline:
            return


def _time(line: LogLine) -> float | None:
    try:
        return datetime.fromisoformat(line.time[:26] + "+00:00").timestamp() if line.time else None
    except ValueError:
        return None
