"""Reads a deployment's log in the background, for as long as somebody looks at it."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from engine.errors import EngineError, NotFound, RuntimeUnreachable
from engine.freshness import Freshness
from engine.log_line import LogLine, LogMark
from engine.observe.log_buffer import LogBuffer
from engine.observe.log_lines import FIRST_OF_RUN, LineAssembler, is_first_of_run, stamp_of
from engine.observe.log_marks import MarkIndex
from engine.runtimes.base import LogSource, Runtime
from engine.secrets import Masker

ENDED = "ended"
NO_LOG = "There is no log: it has not been started."
MAX_BLOCK = 256 * 1024
"""Bytes worked on without letting another thread run"""
NOTIFY_INTERVAL_S = 0.05
RETRY_S = (0.25, 0.5, 1.0, 2.0)
"""Waits between attempts while the stream breaks; the last one repeats"""
REOPEN_S = 1.0
"""Wait before a log that ended, or is not there, is looked at again"""
ROUNDING_S = 0.001
"""An epoch in a float has no nanoseconds"""
OVERLAP_S = 0.05
"""What is read again after a break: standard output and error are written by two threads, not quite in order of time"""


class LogReader:
    """An `engine.api.LogFeed` over any runtime. One daemon thread reads, another tells `changed`.

    It outlives broken streams, ends and restarts: it opens the log again from the last line's time, and lines that
    were seen already are recognised, so that nothing is missing and nothing is there twice.
    """

    def __init__(
        self,
        runtime: Runtime,
        name: str,
        changed: Callable[[], None],
        *,
        tail: int | None = None,
        since: float | None = None,
        max_lines: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """`since`: seconds since the epoch; nothing older is read."""
        self._runtime = runtime
        self._name = name
        self._changed = changed
        self._tail = tail
        self._since = since
        self._buffer = LogBuffer(max_lines, max_bytes)
        self._assembler = LineAssembler()
        self._index = MarkIndex()
        self._status = (Freshness.LOADING, "")
        self._unfinished = ""
        self._latest: float | None = None
        """Time of the newest line, epoch seconds"""
        self._seen: Counter[str] = Counter()
        """Lines that an opened log may repeat"""
        self._resumed_from = self._resumed_to = ""
        """Times between which they are"""
        self._source: LogSource | None = None
        self._closing = threading.Event()
        self._news = threading.Event()
        for target in (self._read, self._notify):
            threading.Thread(target=target, name=f"log {name}", daemon=True).start()

    @property
    def first(self) -> int:
        return self._buffer.first

    @property
    def end(self) -> int:
        return self._buffer.end

    @property
    def freshness(self) -> Freshness:
        return self._status[0]

    @property
    def message(self) -> str:
        return self._status[1]

    def line(self, seq: int) -> LogLine:
        return self._buffer.line(seq)

    def lines(self, start: int, stop: int) -> Sequence[LogLine]:
        return self._buffer.lines(start, stop)

    @property
    def marks(self) -> Sequence[LogMark]:
        """Of what was read until a moment ago; `changed` is told of them, too."""
        return self._index.marks(self._buffer.first)

    def close(self) -> None:
        """Ends both threads soon; `changed` is not called anew."""
        self._closing.set()
        self._news.set()
        if source := self._source:
            source.close()

    def _notify(self) -> None:
        while not self._closing.is_set():
            self._news.wait()
            self._news.clear()
            if self._index.advance(self._buffer):
                self._news.set()
            if not self._closing.is_set():
                self._changed()
            self._closing.wait(NOTIFY_INTERVAL_S)

    def _read(self) -> None:
        failures = 0
        while not self._closing.is_set():
            before = self._buffer.end
            try:
                self._read_once()
            except NotFound:
                self._say(Freshness.NONE, NO_LOG)
                wait = REOPEN_S
            except RuntimeUnreachable as error:
                self._say(Freshness.STALE, str(error))
                failures = 0 if self._buffer.end > before else failures
                wait = RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
            except EngineError as error:
                self._say(Freshness.FAILED, str(error))
                wait = RETRY_S[-1]
            else:
                if self._closing.is_set():
                    return
                self._add(self._assembler.flush())
                self._say(Freshness.FRESH, ENDED)
                failures, wait = 0, REOPEN_S
            self._closing.wait(wait)

    def _read_once(self) -> None:
        """Until the log ends or breaks."""
        source = self._open()
        self._source = source
        try:
            if self._closing.is_set():  # `close` may have come before there was a source to close
                return
            if self.message != ENDED:
                self._say(Freshness.FRESH, "")
            unyielded = 0
            for block in source:
                for start in range(0, len(block), MAX_BLOCK):
                    self._add(self._assembler.feed(block[start : start + MAX_BLOCK]))
                unyielded += len(block)
                if unyielded >= MAX_BLOCK:
                    unyielded = 0
                    time.sleep(0)
                if self._closing.is_set():
                    return
        finally:
            source.close()

    def _open(self) -> LogSource:
        tail, since = self._tail, self._since
        if self._latest is not None:
            begin = self._latest - OVERLAP_S
            self._resumed_from, self._resumed_to = _stamp(begin), _stamp(self._latest + OVERLAP_S)
            self._seen = Counter(map(_within_run, self._buffer.since(_stamp(begin - 10 * OVERLAP_S))))
            tail, since = None, begin - ROUNDING_S
        source = self._runtime.logs(self._name, tail=tail, follow=True, since=since)
        self._assembler.reset()
        self._assembler.masker = Masker(source.secrets)
        return source

    def _add(self, lines: list[str]) -> None:
        unfinished = self._assembler.unfinished()
        if self._resumed_from:
            lines = self._unseen(lines)
            if unfinished < self._resumed_from or _within_run(unfinished) in self._seen:
                unfinished = ""
        if not lines and not unfinished and not self._unfinished:
            return
        self._unfinished = unfinished
        self._buffer.append(lines, unfinished)
        if lines:
            self._remember(stamp_of(lines[-1]))
        self._status = (Freshness.FRESH, "")
        self._news.set()

    def _unseen(self, lines: list[str]) -> list[str]:
        """Without those that were read before the log was opened again."""
        unseen = []
        for line in lines:
            if self._seen[known := _within_run(line)] > 0:
                self._seen[known] -= 1
            elif line >= self._resumed_from or not stamp_of(line):
                unseen.append(line)
        if lines and stamp_of(lines[-1]) > self._resumed_to:
            self._resumed_from = ""
            self._seen.clear()
        return unseen

    def _remember(self, stamp: str) -> None:
        try:
            at = datetime.fromisoformat(stamp[:26] + "+00:00").timestamp()
        except ValueError:
            return  # the program wrote something that only looks like a time
        self._latest = max(self._latest or at, at)

    def _say(self, freshness: Freshness, message: str) -> None:
        if self._status != (freshness, message):
            self._status = (freshness, message)
            self._news.set()


def _within_run(line: str) -> str:
    """Whether a line is the first of its run, only who reads from before it on can tell."""
    return f"{line[:30]}{FIRST_OF_RUN[line[30]]}{line[31:]}" if is_first_of_run(line) else line


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
