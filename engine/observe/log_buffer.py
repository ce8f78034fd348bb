"""The last lines of a log, bounded by number and by memory."""

import sys
import threading
from collections.abc import Sequence

from engine.log_line import LogLine
from engine.observe.log_lines import CONTEXT, read_line, reader_after


class LogBuffer:
    """A ring of lines, numbered from 0 as they come. One thread writes, any thread reads, none waits long.

    The last line may be unfinished: it counts, and its text changes until it is complete.
    """

    def __init__(self, max_lines: int, max_bytes: int) -> None:
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._ring = [""] * max_lines
        """Line `seq` is at `seq % max_lines`"""
        self._bytes = 0
        self._first = 0
        self._end = 0
        self._unfinished = ""

    @property
    def first(self) -> int:
        return self._first

    @property
    def end(self) -> int:
        with self._lock:
            return self._end + bool(self._unfinished)

    def append(self, lines: list[str], unfinished: str = "") -> None:
        lost = max(0, len(lines) - self._max_lines)
        with self._lock:
            self._unfinished = unfinished
            if lost:
                lines = lines[lost:]
                self._drop(self._end - self._first)
                self._first = self._end = self._end + lost
            self._drop(self._end - self._first + len(lines) - self._max_lines)
            self._place(lines)
            self._end += len(lines)
            self._bytes += sum(map(sys.getsizeof, lines))
            while self._bytes > self._max_bytes and self._end - self._first > 1:
                self._drop(1)

    def line(self, seq: int) -> LogLine:
        """Raises IndexError for a line that is not kept."""
        lines = self.lines(seq, seq + 1)
        if not lines:
            raise IndexError(f"line {seq} is not kept")
        return lines[0]

    def lines(self, start: int, stop: int) -> Sequence[LogLine]:
        """The kept ones among `start <= seq < stop`."""
        begin, raw = self._copy(start - CONTEXT, stop)
        before = min(max(0, start - begin), len(raw))
        reader = reader_after(raw[:before])
        return [read_line(begin + index, raw[index], reader) for index in range(before, len(raw))]

    def finished(self, start: int, count: int) -> tuple[int, list[str]]:
        """At most so many lines that have ended, from `start` or the first that is kept on, each with its time."""
        with self._lock:
            start = max(start, self._first)
            return start, self._slice(start, min(start + count, self._end))

    def since(self, stamp: str) -> list[str]:
        """The finished lines at the end whose time is `stamp` or later, each with its time before it."""
        with self._lock:
            seq = self._end
            while seq > self._first and self._ring[(seq - 1) % self._max_lines] >= stamp:
                seq -= 1
            return self._slice(seq, self._end)

    def _copy(self, start: int, stop: int) -> tuple[int, list[str]]:
        with self._lock:
            start = max(start, self._first)
            lines = self._slice(start, min(stop, self._end))
            if self._unfinished and start <= self._end < stop:
                lines.append(self._unfinished)
        return start, lines

    def _slice(self, start: int, stop: int) -> list[str]:
        if stop <= start:
            return []
        begin = start % self._max_lines
        length = stop - start
        return self._ring[begin : begin + length] + self._ring[: max(0, begin + length - self._max_lines)]

    def _place(self, lines: list[str]) -> None:
        begin = self._end % self._max_lines
        room = self._max_lines - begin
        self._ring[begin : begin + len(lines)] = lines[:room]
        self._ring[: max(0, len(lines) - room)] = lines[room:]

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        dropped = self._slice(self._first, self._first + count)
        self._bytes -= sum(map(sys.getsizeof, dropped))
        begin = self._first % self._max_lines
        room = self._max_lines - begin
        self._ring[begin : begin + count] = [""] * min(count, room)
        self._ring[: max(0, count - room)] = [""] * max(0, count - room)
        self._first += count
