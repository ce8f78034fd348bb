"""Lines of a log as text: for the clipboard, and for a file."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from engine.log_line import LineKind, LogLine
from tui.widgets.log_filter import AllLines

MOST_COPIED = 1 << 20
"""Bytes as sent; tmux throws away what is longer (INPUT_BUF_LIMIT in its input.c, 1 MiB until 3.5)"""
MANY_TAKE = 100_000
"""Bytes as sent that about every terminal takes"""
_BATCH = 500


def plain(line: LogLine, *, times: bool = False) -> str:
    if line.kind is LineKind.GAP:
        return f"--- {line.text} ---"
    return f"{line.time} {line.text}" if times and line.time else line.text


def sent_size(text: str) -> int:
    """Bytes of the text as the terminal gets it, in base64."""
    return (len(text.encode()) + 2) // 3 * 4


def said(text: str) -> str:
    """What to tell of text that was copied: a terminal does not answer whether it took it."""
    count = text.count("\n") + 1
    words = [f"Copied {count:,} line{'' if count == 1 else 's'}."]
    if sent_size(text) > MANY_TAKE:
        taken = MANY_TAKE * 3 // 4 // 1024
        words.append(f"Many terminals take no more than {taken} KiB: if it does not arrive, S saves it to a file.")
    if os.environ.get("TMUX"):
        words.append("tmux passes it on when it has: set -g set-clipboard on.")
    return " ".join(words)


def gather(lines: AllLines, start: int, stop: int) -> str | None:
    """The shown lines of `start <= seq < stop`; None when they are more than can be copied."""
    texts: list[str] = []
    size = 0
    for at in range(start, stop, _BATCH):
        found = [plain(line) for line in lines.lines(at, min(stop, at + _BATCH))]
        texts += found
        size += sum(map(len, found)) + len(found)
        if size * 4 // 3 > MOST_COPIED:
            return None
    text = "\n".join(texts)
    return text if sent_size(text) <= MOST_COPIED else None


def write_log(path: Path, lines: AllLines, *, times: bool, going_on: Callable[[], bool]) -> int:
    """Writes what there is now to a new file that only its owner can read; how many lines that was.

    `times`: each after the time that it was written at. Blocks. Raises OSError, and leaves no part of a file then.
    """
    count = 0
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            for line in _all(lines, lines.first, lines.end):
                if not going_on():
                    break
                file.write(plain(line, times=times) + "\n")
                count += line.kind is not LineKind.GAP
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return count


def _all(lines: AllLines, start: int, stop: int) -> Iterator[LogLine]:
    """What is dropped meanwhile is told of, where it is missing."""
    while start < stop:
        if (missing := min(lines.first, stop) - start) > 0:
            yield LogLine(start, "", f"{missing:,} lines were dropped while this was written", kind=LineKind.GAP)
            start += missing
        yield from lines.lines(start, min(stop, start + _BATCH))
        start += _BATCH
