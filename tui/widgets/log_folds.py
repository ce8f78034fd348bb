"""Tracebacks and banners take one row each, until they are unfolded."""

import re
from collections.abc import Sequence

from engine.log_line import LineKind, LogLine
from tui.widgets.log_look import message_start

LEAST = 3
"""Lines that are worth folding"""
LONGEST = 4096
"""A fold ends at numbers that this divides, so that its beginning is never sought for long"""
_WORDS = re.compile(r"[^\W_][\w .,:()/-]*[\w)]")


def joins(line: LogLine, below: LogLine) -> bool:
    """`below` is folded with the line right above it."""
    if below.seq != line.seq + 1 or below.seq % LONGEST == 0:
        return False
    if below.kind is LineKind.FRAME:
        return line.kind in (LineKind.TRACEBACK, LineKind.FRAME)
    return _of_banner(line) and _of_banner(below)


def foldable(lines: Sequence[LogLine]) -> bool:
    """Whether lines that belong together are worth a fold: empty ones alone are not."""
    return len(lines) >= LEAST and any(line.kind is not LineKind.PLAIN for line in lines)


def _of_banner(line: LogLine) -> bool:
    """An image's banner has empty lines between its parts."""
    return line.kind is LineKind.BANNER or (line.kind is LineKind.PLAIN and not _message(line).strip())


def _message(line: LogLine) -> str:
    return line.text[message_start(line.text) :]


def title(lines: Sequence[LogLine]) -> str:
    """What stands in place of them."""
    first = lines[0]
    count = f"({len(lines):,} lines)"
    if _of_banner(first):
        words = next((found[0] for line in lines if (found := _WORDS.search(_message(line)))), "banner")
        return f"▸ {words} {count}"
    return f"{first.text[: message_start(first.text)]}▸ Traceback {count}"


class Folds:
    """Which of a log's folds are open. A fold is known by the number of its first line."""

    def __init__(self) -> None:
        self.all_open = False
        self._others: set[int] = set()

    def is_open(self, seq: int) -> bool:
        return (seq in self._others) is not self.all_open

    def toggle(self, seq: int) -> None:
        self._others ^= {seq}

    def open(self, seq: int) -> None:
        if not self.is_open(seq):
            self.toggle(seq)

    def toggle_all(self) -> None:
        self.all_open = not self.all_open
        self._others.clear()
