"""From a stream of bytes to lines that may be shown: cut, decoded, cleaned, without secrets, of bounded length.

Work is done on blocks, not on lines: what a plain block costs is a few passes at the speed of C.
"""

import re
from collections.abc import Callable, Sequence

from engine.log_line import LineKind, LogLine, Stream, Styled
from engine.observe.log_styles import parse, without_colours
from engine.observe.log_words import LineReader
from engine.secrets import Masker
from engine.text import clean_but_colours, is_plain

STAMP = 31
"""Length of the time and the mark before each line: 2025-01-31T12:00:00.123456789Z>"""
MAX_CHARS = 8_000
"""Of a line's text; what is beyond is cut"""
GAP = "#"
"""The marks, and what they mean, are those of `engine.runtimes.base.LogSource`"""
STREAMS = {" ": None, "@": None, ">": Stream.OUT, "}": Stream.OUT, "!": Stream.ERR, "|": Stream.ERR, GAP: None}
FIRST_OF_RUN = {"@": " ", "}": ">", "|": "!"}
"""And what they are without that"""
CONTEXT = 12
"""Lines before one that can matter for it: the rest of a traceback's place in the source, and other processes' lines"""
_MAX_HELD = 4 * MAX_CHARS + 1024
"""Bytes kept of a line that has not ended: enough for MAX_CHARS of the widest characters"""
_CONTINUATION = bytes(range(0x80, 0xC0))
_VOID = "\x18"
_REWRITTEN = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:.]{18}Z[ >!@}|#])?[^\n]*\r", re.MULTILINE)
_LINE_END = re.compile(r"\r+(?=\n|\Z)")


def stamp_of(line: str) -> str:
    """The time that a line begins with, or nothing."""
    return line[:30] if line[29:30] == "Z" and line[30:31] in STREAMS and line[10] == "T" else ""


def split_stamp(line: str) -> tuple[str, str]:
    stamp = stamp_of(line)
    return (stamp, line[STAMP:]) if stamp else ("", line)


def is_first_of_run(line: str) -> bool:
    return line[30:31] in FIRST_OF_RUN and bool(stamp_of(line))


def text_of(line: str) -> str:
    """As it is shown."""
    text = split_stamp(line)[1]
    return without_colours(text) if "\x1b" in text else text


def read_line(seq: int, line: str, reader: LineReader) -> LogLine:
    """`reader` has read the lines before."""
    stamp, text = split_stamp(line)
    styled: tuple[Styled, ...] = ()
    if "\x1b" in text:
        text, styled = parse(text)
    mark = line[30] if stamp else " "
    if mark == GAP:
        return LogLine(seq, stamp, text, kind=LineKind.GAP)
    level, source, kind = reader.read(text)
    return LogLine(seq, stamp, text, STREAMS[mark], level, source, kind, styled)


def reader_after(lines: Sequence[str]) -> LineReader:
    """One that knows whether these lines, the last before those to be read, end within a traceback."""
    reader = LineReader()
    if any('  File "' in line or "Traceback (most" in line for line in lines):
        for line in lines:
            reader.read(text_of(line))
    return reader


class LineAssembler:
    """Bytes in, finished lines out. Holds at most a bounded part of the line that has not ended. For one thread.

    What the lines still have before them is their time and mark, and in them the sequences that set colours.
    """

    def __init__(self, masker: Masker | None = None) -> None:
        self.masker = masker or Masker()
        self._held = b""
        self._skipped = 0
        """Characters of the unfinished line that were not held"""

    def feed(self, block: bytes) -> list[str]:
        """The lines that this block completes, each with its time still before it."""
        end = block.rfind(b"\n")
        if end < 0:
            self._hold(block)
            return []
        lines: list[str] = []
        start = 0
        if self._skipped:
            start = block.index(b"\n") + 1
            self._hold(block[: start - 1])
            lines = self.flush()
        if start <= end:
            lines += _tidy(self._held + block[start:end], self.masker)
            self._held = b""
        self._hold(block[end + 1 :])
        return lines

    def unfinished(self) -> str:
        """The line that has not ended, as far as it is known; empty while not even its time is."""
        return "".join(self._line(self.masker.unfinished)) if len(self._held) > STAMP else ""

    def flush(self) -> list[str]:
        """Ends the unfinished line, if there is one."""
        lines = self._line(self.masker) if self._held else []
        self.reset()
        return lines

    def reset(self) -> None:
        self._held = b""
        self._skipped = 0

    def _line(self, mask: Callable[[str], str]) -> list[str]:
        """It alone, or nothing when it is void."""
        mask = self.masker.unfinished if self._skipped else mask
        return [_cut(line, self._skipped) for line in _tidy(self._held, mask, cut=False)]

    def _hold(self, piece: bytes) -> None:
        if not piece:
            return
        if len(self._held) + len(piece) <= _MAX_HELD and not self._skipped:
            self._held += piece
            return
        data = piece if self._skipped else self._held + piece
        rewrite = data.rfind(b"\r", 0, -1)
        if rewrite >= 0:
            # A progress bar that never ends its line: only its last state counts.
            stamp = self._held[:STAMP] if stamp_of(self._held[:STAMP].decode("latin-1")) else b""
            data = stamp + data[rewrite + 1 :]
            self._skipped = 0
        elif self._skipped:
            self._skipped += _count(piece)
            return
        self._held = data[:_MAX_HELD]
        self._skipped = _count(data[_MAX_HELD:])


def _tidy(block: bytes, mask: Callable[[str], str], *, cut: bool = True) -> list[str]:
    """The lines of a block that ends where a line does; void ones are left out."""
    if is_plain(block):
        lines = mask(block.decode("ascii")).split("\n")
    else:
        text = block.decode("utf-8", "replace")
        if _VOID in text:
            kept = [line for line in text.split("\n") if not line.endswith(_VOID)]
            if not kept:
                return []
            text = "\n".join(kept)
        if "\r" in text:
            text = _LINE_END.sub("", text)
            if "\r" in text:
                text = _REWRITTEN.sub(r"\1", text)
        text = clean_but_colours(text)
        lines = _masked_in_colour(text, mask) if "\x1b" in text else mask(text).split("\n")
    if cut and max(map(len, lines)) > MAX_CHARS:
        lines = [_cut(line) for line in lines]
    return lines


def _masked_in_colour(text: str, mask: Callable[[str], str]) -> list[str]:
    """A line in which something is masked loses its colours."""
    bare = without_colours(text)
    masked = mask(bare)
    lines = text.split("\n")
    if masked == bare:
        return lines
    triples = zip(lines, bare.split("\n"), masked.split("\n"), strict=True)
    return [line if after == before else after for line, before, after in triples]


def _cut(line: str, skipped: int = 0) -> str:
    if len(line) <= MAX_CHARS and not skipped:
        return line
    line = without_colours(line)
    start = STAMP if stamp_of(line) else 0
    total = len(line) - start + skipped
    if total <= MAX_CHARS and not skipped:
        return line
    return f"{line[: start + MAX_CHARS]} … {total:,} characters, cut"


def _count(data: bytes) -> int:
    """Characters in UTF-8 bytes."""
    return len(data.translate(None, _CONTINUATION))
