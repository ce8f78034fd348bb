"""A log with a time before each line: how two streams become one, and how a shim keeps it in files.

The shim runs without the engine around it, so this needs nothing but the standard library.
"""

# ruff: noqa: PTH108, PTH208 (importing pathlib would nearly double the time that a shim takes to start)

import os
import time

LOG_PREFIX = "log."
OUT, ERR = 1, 2
"""The streams, by their descriptors and by Docker's numbers for them"""
MARKS = {OUT: b">", ERR: b"!"}
FIRST_MARKS = {OUT: b"}", ERR: b"|"}
"""Of the first line of a run"""
UNKNOWN_MARK, FIRST_UNKNOWN_MARK = b" ", b"@"
GAP_MARK = b"#"
"""Not the program's line, but a word on lines that are missing"""
STAMP_BYTES = 30
VOID = b"\x18"
"""At the end of a line, and nowhere else: the line does not count, it comes again (ASCII's `cancel`)"""
LONGEST_VOID = 32_000
"""Bytes of a line that can still come again; a longer one is cut where the other stream comes in between"""
_LONGEST_SHOWN = 4_000
"""Bytes of an unfinished line that is put behind each line of the other stream again"""
_LOG_FILES = 2


def stamp(ns: int) -> bytes:
    """RFC 3339 in UTC with nine decimals: 30 bytes."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{fraction:09d}Z", time.gmtime(seconds)).encode()


def log_numbers(folder: str) -> list[int]:
    """The log's files `log.N`, oldest first. Raises OSError when the folder cannot be read."""
    names = (name.removeprefix(LOG_PREFIX) for name in os.listdir(folder) if name.startswith(LOG_PREFIX))
    return sorted(int(number) for number in names if number.isdecimal())


class Weaver:
    """Two streams into one log of whole lines, each with its time and the mark of its stream before it.

    What a stream has not ended stands at the end of the log, so that it can be seen. When the other one says
    something, that line is made void and comes again behind it: a progress bar on one stream stays one line while the
    other one talks.
    """

    def __init__(self, *, new_run: bool = False) -> None:
        self.open = 0
        """The stream whose unfinished line stands at the end of the log; 0 for none"""
        self._held: dict[int, bytes | None] = {OUT: b"", ERR: b""}
        """What each stream has not ended, in the log or not yet; None for what is too long to come again"""
        self._new_run = new_run

    @property
    def is_idle(self) -> bool:
        """Every line so far has ended."""
        return not self.open and not self._held[OUT] and not self._held[ERR]

    def feed(self, stream: int, block: bytes, now: bytes) -> bytes:
        """What to add to the log. `now`: the time of what comes, as `stamp` gives it."""
        block = block.replace(VOID, b"")
        cut = block.rfind(b"\n") + 1
        other = OUT + ERR - stream
        added = b""
        if self.open == other:
            if not cut:
                held = _kept(self._held[stream], block)
                if held is not None:
                    self._held[stream] = held
                    return b""
                block, cut = block + b"\n", len(block) + 1
            added = self._interrupt()
        if self.open != stream:
            added += self._head(stream, now) + (self._held[stream] or b"")
            self.open = stream
        rest = block[cut:]
        self._held[stream] = _kept(b"" if cut else self._held[stream], rest)
        text = block.replace(b"\n", b"\n" + now + MARKS[stream])
        if cut:
            self._new_run = False
            if not rest:
                text = text[: -STAMP_BYTES - 1]
                self.open = 0
                return added + text + self._show(other, now)
        return added + text

    def end(self, now: bytes) -> bytes:
        """Ends what is unfinished."""
        added = b"\n" if self.open else b""
        if self.open:
            self._held[self.open] = b""
        for stream in (OUT, ERR):
            if held := self._held[stream]:
                added += self._head(stream, now) + held + b"\n"
            self._held[stream] = b""
        self.open = 0
        return added

    def _interrupt(self) -> bytes:
        """Ends the line that stands unfinished: void, unless it is too long for coming again."""
        stream, self.open = self.open, 0
        if self._held[stream] is not None:
            return VOID + b"\n"
        self._held[stream] = b""
        return b"\n"

    def _show(self, stream: int, now: bytes) -> bytes:
        held = self._held[stream]
        if not held or len(held) > _LONGEST_SHOWN:
            return b""
        self.open = stream
        return self._head(stream, now) + held

    def _head(self, stream: int, now: bytes) -> bytes:
        return now + (FIRST_MARKS if self._new_run else MARKS)[stream]


def _kept(held: bytes | None, piece: bytes) -> bytes | None:
    """An unfinished line with what was added to it. Of a progress bar that is its last state."""
    rewrite = piece.rfind(b"\r", 0, -1)
    if rewrite >= 0:
        held, piece = b"", piece[rewrite + 1 :]
    if held is None or len(held) + len(piece) > LONGEST_VOID:
        return None
    if held.endswith(b"\r") and piece:
        return piece
    return held + piece


class LogWriter:
    """Writes what two streams say to `log.N`, and begins `log.N+1` when one is full; two are kept.

    It never fails: what cannot be written is dropped, counted, and told in the log once that can be written again.
    """

    def __init__(self, folder: str, file_bytes: int) -> None:
        self.dropped = 0
        """Lines, since the last that could be written"""
        self._folder = folder
        self._file_bytes = file_bytes
        self._file: int | None = None
        self._size = 0
        self._weaver = Weaver(new_run=True)
        try:
            self._number = (log_numbers(folder) or [1])[-1]
        except OSError:
            self._number = 1

    def write(self, stream: int, block: bytes) -> None:
        # One time for the whole block: it is when the block was read, and it makes stamping a single fast replacement.
        now = stamp(time.time_ns())
        if self._size >= self._file_bytes:
            block = self._rotate(stream, block, now)
        whole = self._weaver.open != stream
        if text := self._weaver.feed(stream, block, now):
            self._put(text, now + MARKS[stream], block.count(b"\n") + (not block.endswith(b"\n")), whole=whole)

    def close(self) -> None:
        """Ends unfinished lines, so that the next run begins with a line of its own."""
        now = stamp(time.time_ns())
        whole = not self._weaver.open
        if text := self._weaver.end(now):
            self._put(text, now + MARKS[OUT], 0, whole=whole)
        self._shut()

    def _rotate(self, stream: int, block: bytes, now: bytes) -> bytes:
        """Begins the next file at the end of a line; only a line longer than a quarter of a file is cut in two."""
        if self._weaver.open:
            head, newline, rest = block.partition(b"\n")
            if newline and self._weaver.open == stream:
                self._put(self._weaver.feed(stream, head + newline, now), now + MARKS[stream], 1, whole=False)
                block = rest
            if self._weaver.open:
                if self._size < self._file_bytes * 5 // 4:
                    return block
                self._put(self._weaver.end(now), now + MARKS[stream], 0, whole=False)
        self._shut()
        self._number += 1
        return block

    def _put(self, text: bytes, head: bytes, lines: int, *, whole: bool) -> None:
        """`whole`: it begins a line. `lines`: how many are lost with it."""
        if not text:
            return
        try:
            if self._file is None:
                text = self._open(text, head, whole=whole)
            view = memoryview(text)
            while view:
                written = os.write(self._file or -1, view)
                self._size += written
                view = view[written:]
            self.dropped = 0
        except OSError:
            self.dropped += lines
            self._shut()

    def _open(self, text: bytes, head: bytes, *, whole: bool) -> bytes:
        """Opens the newest file and returns what to write to it now: the text, after a word on what was dropped."""
        path = f"{self._folder}/{LOG_PREFIX}{self._number}"
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._size = os.fstat(self._file).st_size
        for number in log_numbers(self._folder):
            if number <= self._number - _LOG_FILES:
                os.unlink(f"{self._folder}/{LOG_PREFIX}{number}")
        torn = self._size > 0 and os.pread(self._file, 1, self._size - 1) != b"\n"
        if self.dropped:
            word = b"[tritontui] %d lines were dropped: the log could not be written\n" % self.dropped
            note = head[:STAMP_BYTES] + GAP_MARK + word
            return b"\n" * torn + note + (text if whole else head + text)
        return b"\n" + text if torn and whole else text

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
