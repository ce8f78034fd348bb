"""Reads the log of a local deployment from the files that its shim writes, over their rotation."""

import io
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from engine.errors import Refused, RuntimeUnreachable
from engine.runtimes.log_writer import GAP_MARK, LOG_PREFIX, STAMP_BYTES, VOID, log_numbers, stamp
from engine.secrets import resolve_secrets

if TYPE_CHECKING:
    from engine.runtimes.process_state import Record

_BLOCK = 256 << 10
_POLL_S = 0.05
_QUIET_POLLS, _QUIET_POLL_S = 40, 0.25
"""After so many polls without news it is asked less often"""
_POLLS_PER_CHECK = 4
"""Whether the deployment still runs is asked after so many polls without news"""
_GAP = GAP_MARK + b"[tritontui] lines are missing here: the log outran its reader\n"


def secrets_of(record: "Record") -> tuple[str, ...]:
    """The values of a deployment's secrets: those that the running server was given, and what they are now."""
    references = record.facts.secrets if record.facts else {}
    now = (_now(variable, reference) for variable, reference in references.items())
    return tuple(value for value in (*now, *_given(record, references)) if value)


def _now(variable: str, reference: str) -> str:
    try:
        return resolve_secrets({variable: reference})[variable]
    except Refused:  # its file or variable is gone, which only a start needs
        return ""


def _given(record: "Record", variables: Collection[str]) -> Iterator[str]:
    server = record.run.server if record.run else None
    if server is None or not variables:
        return
    try:
        environment = Path(f"/proc/{server[0]}/environ").read_bytes()
    except OSError:  # ended, or another user's
        return
    for entry in environment.decode("utf-8", "replace").split("\0"):
        name, _, value = entry.partition("=")
        if name in variables:
            yield value


class FileLog:
    """A `LogSource` on the folder of a deployment. `ended` says whether nothing more will be written."""

    def __init__(
        self,
        folder: Path,
        ended: Callable[[], bool],
        *,
        tail: int | None,
        follow: bool,
        since: float | None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.secrets = secrets
        self._folder = folder
        self._ended = ended
        self._tail = tail
        self._follow = follow
        self._since = None if since is None else stamp(int(since * 1e9))
        self._closing = threading.Event()

    def close(self) -> None:
        self._closing.set()

    def __iter__(self) -> Iterator[bytes]:
        number, file = 0, None
        quiet = 0
        try:
            number, offset = self._begin()
            file = self._open(number, offset)
            while not self._closing.is_set():
                # Both are asked before reading, so that what was written before them is read after them.
                ended = not self._follow or (quiet % _POLLS_PER_CHECK == 0 and self._ended())
                following = next((n for n in self._numbers() if n > number), None)
                quiet += 1
                while file is not None and (block := file.read(_BLOCK)):
                    yield block
                    quiet = 0
                    if self._closing.is_set():
                        return
                if following is not None:
                    outrun = number and following > number + 1
                    if file is not None:
                        file.close()
                    number, file, quiet = following, self._open(following, 0), 0
                    if outrun and file is not None:
                        # With the time of what comes next: it is from there that a log is read on.
                        at = file.read(STAMP_BYTES)
                        yield (at if len(at) == STAMP_BYTES else stamp(time.time_ns())) + _GAP
                        file.seek(0)
                elif ended:
                    return
                else:
                    self._closing.wait(_POLL_S if quiet < _QUIET_POLLS else _QUIET_POLL_S)
        except OSError as error:
            raise RuntimeUnreachable(f"The log in {self._folder} cannot be read: {error.strerror}.") from error
        finally:
            if file is not None:
                file.close()

    def _numbers(self) -> list[int]:
        try:
            return log_numbers(str(self._folder))
        except FileNotFoundError:
            return []

    def _open(self, number: int, offset: int) -> BinaryIO | None:
        try:
            file = (self._folder / f"{LOG_PREFIX}{number}").open("rb")
        except FileNotFoundError:
            return None
        file.seek(offset)
        return file

    def _begin(self) -> tuple[int, int]:
        """File and offset of the first line that was asked for; file 0 when there is no log yet."""
        numbers = self._numbers()
        begin = (numbers[0], 0) if numbers else (0, 0)
        if self._tail is not None:
            begin = max(begin, self._begin_of_tail(numbers, self._tail))
        if self._since is not None:
            begin = max(begin, self._begin_since(numbers, self._since))
        return begin

    def _begin_of_tail(self, numbers: list[int], wanted: int) -> tuple[int, int]:
        for number in reversed(numbers):
            with self._open(number, 0) or io.BytesIO() as file:
                end = size = file.seek(0, os.SEEK_END)
                if wanted == 0:
                    return number, size
                while end > 0:
                    start = max(0, end - _BLOCK)
                    file.seek(start)
                    block = file.read(end - start)
                    # The newline that ends the file ends its last line and begins none.
                    search_end = len(block) - (end == size and block.endswith(b"\n"))
                    newlines = block.count(b"\n", 0, search_end) - block.count(VOID + b"\n", 0, search_end)
                    if newlines >= wanted:
                        return number, start + _line_from_end(block[:search_end], wanted)
                    wanted -= newlines
                    end = start
                wanted -= size > 0
                if size > 0 and wanted == 0:
                    return number, 0
        return (0, 0)

    def _begin_since(self, numbers: list[int], since: bytes) -> tuple[int, int]:
        number, position = 0, 0
        for number in numbers:
            position = 0
            with self._open(number, 0) or io.BytesIO() as file:
                for line in file:
                    if line[:STAMP_BYTES] >= since:
                        return number, position
                    position += len(line)
        return number, position


def _line_from_end(block: bytes, wanted: int) -> int:
    """Where the line begins that has `wanted` ends of lines from its own beginning on; those of void lines apart."""
    end = len(block)
    while wanted:
        end = block.rfind(b"\n", 0, end)
        wanted -= block[end - 1 : end] != VOID
    return end + 1
