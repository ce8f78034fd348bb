"""One SQLite file of history, opened anew for each use. Losing it loses no control over any deployment."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from engine.text import clean_line

BUSY_TIMEOUT_S = 2.0
"""How long another process's write is waited for"""
Statement = tuple[str, Sequence[object]]
T = TypeVar("T")


class Database:
    """Failures to write or read are kept in `problem` and not raised. Safe to use from several threads and processes.

    `schema`: statements that do nothing where what they make is there. Several may share a file, each with its tables.
    """

    def __init__(self, path: Path, schema: str, what: str) -> None:
        """`what`: how the file is called in a sentence, e.g. `history`."""
        self._path = path
        self._schema = schema
        self._what = what
        self._lock = threading.Lock()
        self._unwritten = self._unread = ""

    @property
    def problem(self) -> str:
        """Why it is not whole; empty when all is well."""
        return self._unwritten or self._unread

    @property
    def changed_at(self) -> int:
        """Nanoseconds since the epoch; 0 when there is no file."""
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0

    def write(self, *statements: Statement) -> bool:
        """All of them or none. Whether it could be done; `problem` says why not."""
        try:
            with self._connect() as database:
                for statement, values in statements:
                    database.execute(statement, values)
        except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
            self._unwritten = self._sentence("written", error)
            return False
        self._unwritten = ""
        return True

    def read(self, query: str, values: Sequence[object], convert: Callable[[sqlite3.Row], T]) -> list[T] | None:
        """None when it cannot be read; `problem` says why not.

        `convert` makes something of a row; ValueError, TypeError and KeyError from it count as damage.
        """
        try:
            with self._connect() as database:
                found = [convert(row) for row in database.execute(query, values)]
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            self._unread = self._sentence("read", error)
            return None
        self._unread = ""
        return found

    def _sentence(self, done: str, error: Exception) -> str:
        passing = isinstance(error, sqlite3.OperationalError | OSError)
        remedy = "" if passing else "It is damaged: move it away, and a new one is begun."
        return f"The {self._what} {self._path} cannot be {done}: {clean_line(str(error))}. {remedy}".rstrip()

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._path.exists():
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # SQLite would make it readable to all, and gives its own journal the same mode.
                os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S)) as database:
                database.row_factory = sqlite3.Row
                database.executescript(self._schema)
                with database:
                    yield database
