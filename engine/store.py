"""History, in one SQLite file: the journal of operations. Losing it loses no control over any deployment."""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from engine.runtimes.shim import identify
from engine.snapshot import OperationStatus, Outcome, Step, StepKind
from engine.text import clean_line

SCHEMA = """
CREATE TABLE IF NOT EXISTS operations (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, target TEXT NOT NULL, began_at REAL NOT NULL, ended_at REAL,
    outcome TEXT NOT NULL, message TEXT NOT NULL, owner TEXT NOT NULL, steps TEXT NOT NULL,
    pid INTEGER NOT NULL, pid_began REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS operations_by_target ON operations (target, began_at);
"""
BUSY_TIMEOUT_S = 2.0


class Journal:
    """Every operation, written before and after each step, so that any console sees what is under way.

    A journal that cannot be written stops no operation: `problem` then says why. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._unwritten = self._unread = ""
        self._read_at: tuple[int, bool] | None = None
        """The file's time when it was last read, and whether anything was under way then"""

    @property
    def problem(self) -> str:
        """Why the history is not whole; empty when all is well."""
        return self._unwritten or self._unread

    def write(self, status: OperationStatus) -> None:
        steps = json.dumps([asdict(step) for step in status.steps])
        row = (
            *(status.id, status.kind, status.target, status.began_at, status.ended_at, status.outcome.value),
            *(status.message, status.owner, steps, os.getpid(), _ticks(os.getpid())),
        )
        try:
            with self._connect() as database:
                database.execute("INSERT OR REPLACE INTO operations VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
            self._unwritten = ""
        except (sqlite3.Error, OSError, ValueError) as error:
            self._unwritten = self._sentence("written", error)

    def recent(self, limit: int = 50) -> tuple[OperationStatus, ...]:
        """Newest first. One whose process is gone without an outcome is shown as interrupted."""
        return self._recent(limit) or ()

    def _recent(self, limit: int = 50) -> tuple[OperationStatus, ...] | None:
        """None when it cannot be read."""
        try:
            with self._connect() as database:
                query = "SELECT * FROM operations ORDER BY began_at DESC LIMIT ?"
                found = tuple(_status(row) for row in database.execute(query, (limit,)))
            self._unread = ""
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError) as error:
            self._unread = self._sentence("read", error)
            return None
        return found

    def _sentence(self, done: str, error: Exception) -> str:
        passing = isinstance(error, sqlite3.OperationalError | OSError)
        remedy = "" if passing else "It is damaged: move it away, and a new one is begun."
        return f"The history {self._path} cannot be {done}: {clean_line(str(error))}. {remedy}".rstrip()

    def recent_if_changed(self) -> tuple[OperationStatus, ...] | None:
        """As `recent`; None when it cannot have changed since the last call, or cannot be read."""
        try:
            changed_at = self._path.stat().st_mtime_ns
        except OSError:
            changed_at = 0
        if self._read_at == (changed_at, False):
            return None
        found = self._recent()
        if found is None:
            return None
        self._read_at = (changed_at, any(status.outcome is Outcome.RUNNING for status in found))
        return found

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._path.exists():
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o600))
            with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S)) as database:
                database.row_factory = sqlite3.Row
                database.executescript(SCHEMA)
                with database:
                    yield database


def _status(row: sqlite3.Row) -> OperationStatus:
    status = OperationStatus(
        id=row["id"],
        kind=row["kind"],
        target=row["target"],
        steps=tuple(_step(step) for step in json.loads(row["steps"])),
        began_at=row["began_at"],
        outcome=Outcome(row["outcome"]),
        owner=row["owner"],
        ended_at=row["ended_at"],
        message=row["message"],
    )
    if status.outcome is Outcome.RUNNING and _ticks(row["pid"]) != row["pid_began"]:
        message = "The program that carried it out is gone; what it had done is shown by the deployment's state."
        return replace(status, outcome=Outcome.INTERRUPTED, message=message)
    return status


def _step(data: dict[str, Any]) -> Step:
    outcome = Outcome(data["outcome"]) if data["outcome"] else None
    return Step(**{**data, "kind": StepKind(data["kind"]), "outcome": outcome})


def _ticks(pid: int) -> int | None:
    """When the process began, in clock ticks since boot, which no change of the clock moves; None when it is gone."""
    identity = identify(pid)
    return identity[1] if identity else None
