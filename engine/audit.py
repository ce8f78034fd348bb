"""The audit: one line of JSON for each operation that began, ended or was refused, and none is ever changed."""

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from engine.errors import OperationFailed
from engine.snapshot import AuditEntry
from engine.text import clean_line, mask_secrets

LONGEST_TEXT = 4000
"""Characters of one field; a longer one is cut and ends in …"""
LONGEST_LINE = 1 << 20
"""Bytes that are read of a line; nothing that is longer is ours"""
BLOCK = 256 << 10
LOCK_S = 2.0
OUT_OF_ORDER_S = 3600.0
"""Lines stand in the order in which they were written, and clocks are set now and then"""
_LATEST = 253402300800.0
"""The year 10000, which no calendar here can show"""
_TEXTS = tuple(field.name for field in fields(AuditEntry) if field.type is str)


class Audit:
    """Several processes, of several users where the file's mode allows it, may write and read at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unwritten = self._unread = ""

    @property
    def problem(self) -> str:
        """Why the last line could not be written, or what is wrong with those read last; empty when all is well."""
        return self._unwritten or self._unread

    def append(self, entry: AuditEntry) -> None:
        """Returns when it is on the disk. Raises `OperationFailed`."""
        line = json.dumps(asdict(_cleaned(entry)), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _opened(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
                with _locked(file, fcntl.LOCK_EX):
                    size = _size(file)
                    torn = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
                    # One write, which the kernel puts at the end whole, whoever else writes.
                    _write(file, b"\n" + line if torn else line)
                os.fsync(file.fileno())
        except OSError as error:
            self._unwritten = f"The audit {self._path} cannot be written: {error.strerror or error}."
            raise OperationFailed(
                self._unwritten,
                "Correct its owner, permissions or free space, or name another file with `audit` in the configuration.",
            ) from error
        self._unwritten = ""

    def read(self, limit: int, *, name: str | None = None, since: float | None = None) -> tuple[AuditEntry, ...]:
        """Newest first; `name`: of that deployment; `since`: seconds since the epoch. Blocks.

        Lines that are none are left out and counted in `problem`. Raises `OperationFailed`.
        """
        found: list[AuditEntry] = []
        bad = 0
        named = name.encode(errors="replace") if name else b""
        try:
            for line in self._lines():
                if len(found) >= limit:
                    break
                if not line or named not in line:
                    continue
                entry = _parsed(line)
                if entry is None:
                    bad += 1
                elif since is not None and entry.at < since:
                    if entry.at < since - OUT_OF_ORDER_S:
                        break
                elif not name or name in _words(entry):
                    found.append(entry)
        except OSError as error:
            raise OperationFailed(
                f"The audit {self._path} cannot be read: {error.strerror or error}.", "Correct its permissions."
            ) from error
        lines = "A line" if bad == 1 else f"{bad} lines"
        self._unread = f"{lines} of the audit {self._path} cannot be read and {_is(bad)} left out." if bad else ""
        return tuple(found)

    def _lines(self) -> Iterator[bytes]:
        """From the last to the first, without reading more of the file than is asked for. Raises OSError."""
        try:
            file = _opened(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return
        with file:
            with _locked(file, fcntl.LOCK_SH):  # no line is just being written
                end = _size(file)
            rest = b""
            """The end of a line whose beginning has not been read yet"""
            while end > 0:
                begin = max(0, end - BLOCK)
                block = os.pread(file.fileno(), end - begin, begin)
                end = begin
                first, newline, lines = block.partition(b"\n")
                if newline:
                    yield from reversed((lines + rest).split(b"\n"))
                    rest = first
                else:
                    rest = (block + rest)[: LONGEST_LINE + 1]
            yield rest


def _opened(path: Path, flags: int) -> BinaryIO:
    # Without blocking: a pipe in its place would wait for somebody at its other end.
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
    return os.fdopen(descriptor, "rb", buffering=0)


def _size(file: BinaryIO) -> int:
    """Raises OSError for what is no file, such as a device or a folder."""
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise OSError(None, "It is no regular file")
    return found.st_size


def _write(file: BinaryIO, data: bytes) -> None:
    if os.write(file.fileno(), data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def _locked(file: BinaryIO, kind: int) -> Iterator[None]:
    """Where hosts share a file system, the kernel alone does not keep their lines apart.

    A lock that is not to be had is done without: nobody can hold up the audit by holding it.
    """
    give_up_at = time.monotonic() + LOCK_S
    while time.monotonic() < give_up_at:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break  # this file system has none
        else:
            break
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def _cleaned(entry: AuditEntry) -> AuditEntry:
    texts: dict[str, Any] = {name: _text(getattr(entry, name)) for name in _TEXTS}
    return replace(entry, **texts)


def _text(text: str) -> str:
    text = mask_secrets(clean_line(text))
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _words(entry: AuditEntry) -> list[str]:
    """The deployments, and `→`; not the first word, which says what was done with them."""
    return re.split(r"[\s,]+", entry.what)[1:]


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _parsed(line: bytes) -> AuditEntry | None:
    """None for what is no entry. Others may write to the file: it is outside text like any other."""
    if len(line) > LONGEST_LINE:
        return None
    try:
        data = json.loads(line)
        texts = {name: data.get(name, "") for name in _TEXTS}
        at = _number(data["at"], 0.0)
        seconds = None if data.get("seconds") is None else _number(data["seconds"], -_LATEST)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not texts["event"] or not all(isinstance(text, str) for text in texts.values()):
        return None
    return _cleaned(AuditEntry(at=at, seconds=seconds, **texts))


def _number(value: Any, least: float) -> float:
    """Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < _LATEST:
        raise ValueError("it is no number, or none of this use")
    return float(value)
