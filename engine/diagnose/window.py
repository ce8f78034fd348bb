"""A log in blocks, and the lines of it in which something stands that is looked for. Memory is bounded."""

import re
from collections.abc import Callable
from typing import NamedTuple

from engine.diagnose.needles import Search
from engine.diagnose.prefix import Prefix, prefix_of
from engine.text import clean_line, mask_secrets

AHEAD = 1 << 16
"""Bytes that are known beyond the line that is read: a traceback, or a message of several lines"""
_BEHIND = 1 << 13
"""Bytes that are kept before it"""
_PIECE = 1 << 20
_LONGEST = 1 << 14
"""Bytes of a line that are looked at, around what was found in it"""
_LINE_FEED = 0x0A
_LINE_END = re.compile(rb"[\r\n]")


class Line(NamedTuple):
    number: int
    """From 1, counted by line feeds"""
    text: str
    """Cleaned and masked"""
    prefix: Prefix

    @property
    def body(self) -> str:
        return self.text[self.prefix.length :]


class Window:
    """`feed` pieces of the log, then `close`: each calls `hit` with every anchor that is found.

    In there, `line` is the line of that place, and `following` and `before` are those around it; `search` may be
    changed. For one thread.
    """

    def __init__(self, search: Search, hit: Callable[[bytes], None]) -> None:
        self.search = search
        self._hit = hit
        self._buffer = b"\n"
        """A line feed before the first line: what begins a line is looked for with the line feed before it"""
        self._read = 1
        """How far"""
        self._number = 1
        """Of the line at the place that is looked at"""
        self._place = 0
        self._raw: bytes | None = None
        self._line: Line | None = None
        self._ends = 0
        """Where that line does"""

    @property
    def lines(self) -> int:
        """Read so far; after `close`, all."""
        return self._number - (1 if self._buffer.endswith(b"\n") else 0)

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            self._buffer += data[start : start + _PIECE]
            end = self._buffer.rfind(b"\n", self._read, max(len(self._buffer) - AHEAD, 0)) + 1
            if not end and len(self._buffer) - self._read > 2 * _PIECE:  # a line without an end
                end = len(self._buffer) - AHEAD
            if end > self._read:
                self._search(end)

    def close(self) -> None:
        self._search(len(self._buffer))

    def raw(self) -> bytes:
        """Between line ends of either kind: a progress bar writes over itself, and what comes after is another line."""
        if self._raw is None:
            buffer, place = self._buffer, self._place
            least = max(place - _LONGEST // 2, 0)
            start = max(buffer.rfind(b"\n", least, place), buffer.rfind(b"\r", least, place), least - 1) + 1
            self._ends = self._end(place, min(start + _LONGEST, len(buffer)))
            self._raw = buffer[start : self._ends]
        return self._raw

    def line(self) -> Line:
        """The same, to be read."""
        if self._line is None:
            self._line = _read(self._number, self.raw())
        return self._line

    def following(self, count: int) -> list[Line]:
        """The lines after it."""
        number, end = self.line().number, self._ends
        found: list[Line] = []
        while len(found) < count:
            end = self._buffer.find(b"\n", end)
            if end < 0 or end + 1 >= len(self._buffer):
                break
            number += 1
            start, end = end + 1, self._end(end + 1, min(end + 1 + _LONGEST, len(self._buffer)))
            found.append(_read(number, self._buffer[start:end]))
        return found

    def before(self, count: int) -> list[Line]:
        """The lines before it, in their order."""
        number = self.line().number
        start = self._buffer.rfind(b"\n", 0, self._place)
        found: list[Line] = []
        while len(found) < count and number > 1 and start > 0:
            end, start = start, self._buffer.rfind(b"\n", max(start - _LONGEST, 0), start)
            if start < 0:
                break
            number -= 1
            stop = self._end(start + 1, min(start + 1 + _LONGEST, end))
            found.append(_read(number, self._buffer[start + 1 : stop]))
        return found[::-1]

    def _end(self, place: int, limit: int) -> int:
        match = _LINE_END.search(self._buffer, place, limit)
        return match.start() if match else limit

    def _search(self, end: int) -> None:
        buffer = self._buffer
        at, counted = self._read - 1, self._read
        while match := self.search(buffer, at, end):
            start = match.start()
            place = start + (buffer[start] == _LINE_FEED)
            self._number += buffer.count(b"\n", counted, place)
            counted = max(counted, place)
            if self._raw is None or place > self._ends:
                self._place, self._raw, self._line = place, None, None
            self._hit(match[0])
            at = start + 1
        self._number += buffer.count(b"\n", counted, end)
        kept = max(end - _BEHIND, 0)
        self._buffer, self._read, self._raw, self._line = buffer[kept:], end - kept, None, None


def _read(number: int, raw: bytes) -> Line:
    text = mask_secrets(clean_line(raw.decode("utf-8", "replace")))
    return Line(number, text, prefix_of(text))
