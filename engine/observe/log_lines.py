"""From a stream of bytes to lines that may be shown: cut, decoded, cleaned, without secrets, of bounded length.

Work is done on blocks, not on lines: what a plain block costs is a few passes at the speed of C.
"""

import re

from engine.text import clean, is_plain, mask_secrets

STAMP = 31
"""Length of the time and the space before each line: 2025-01-31T12:00:00.123456789Z """
MAX_CHARS = 8_000
"""Of a line's text; what is beyond is cut"""
_MAX_HELD = 4 * MAX_CHARS + 1024
"""Bytes kept of a line that has not ended: enough for MAX_CHARS of the widest characters"""
_CONTINUATION = bytes(range(0x80, 0xC0))
_REWRITTEN = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:.]{18}Z )?[^\n]*\r", re.MULTILINE)
_LINE_END = re.compile(r"\r+(?=\n|\Z)")


def stamp_of(line: str) -> str:
    """The time that a line begins with, or nothing."""
    return line[:30] if line[29:31] == "Z " and line[10] == "T" else ""


def split_stamp(line: str) -> tuple[str, str]:
    stamp = stamp_of(line)
    return (stamp, line[STAMP:]) if stamp else ("", line)


class LineAssembler:
    """Bytes in, finished lines out. Holds at most a bounded part of the line that has not ended. For one thread."""

    def __init__(self) -> None:
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
            lines += _tidy(self._held + block[start:end])
            self._held = b""
        self._hold(block[end + 1 :])
        return lines

    def unfinished(self) -> str:
        """The line that has not ended, as far as it is known; empty while not even its time is."""
        return self._line() if len(self._held) > STAMP else ""

    def flush(self) -> list[str]:
        """Ends the unfinished line, if there is one."""
        lines = [self._line()] if self._held else []
        self.reset()
        return lines

    def reset(self) -> None:
        self._held = b""
        self._skipped = 0

    def _line(self) -> str:
        return _cut(_tidy(self._held, cut=False)[0], self._skipped)

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


def _tidy(block: bytes, *, cut: bool = True) -> list[str]:
    """The lines of a block that ends where a line does."""
    if is_plain(block):
        text = block.decode("ascii")
    else:
        text = block.decode("utf-8", "replace")
        if "\r" in text:
            text = _LINE_END.sub("", text)
            if "\r" in text:
                text = _REWRITTEN.sub(r"\1", text)
        text = clean(text)
    lines = mask_secrets(text).split("\n")
    if cut and max(map(len, lines)) > MAX_CHARS:
        lines = [_cut(line) for line in lines]
    return lines


def _cut(line: str, skipped: int = 0) -> str:
    stamp, text = split_stamp(line)
    total = len(text) + skipped
    if total <= MAX_CHARS and not skipped:
        return line
    return f"{stamp}{' ' if stamp else ''}{text[:MAX_CHARS]} … {total:,} characters, cut"


def _count(data: bytes) -> int:
    """Characters in UTF-8 bytes."""
    return len(data.translate(None, _CONTINUATION))
