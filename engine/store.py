"""The journal of operations, in one SQLite file. Losing it loses no control over any deployment."""

import os
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

from engine.database import Database
from engine.operation_json import from_json, to_json
from engine.request import Request
from engine.runtimes.shim import identify
from engine.snapshot import OperationStatus, Outcome

SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    id TEXT PRIMARY KEY, began_at REAL NOT NULL, outcome TEXT NOT NULL, status TEXT NOT NULL, request TEXT NOT NULL,
    context TEXT NOT NULL, pid INTEGER NOT NULL, pid_began INTEGER, pid_boot TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS journal_by_time ON journal (began_at);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is kept of an operation: enough to finish it or to roll it back when its process is gone."""

    status: OperationStatus
    request: Request
    context: str
    """As `engine.operations.record.Context` writes it; empty before anything was changed"""


class Journal:
    """Every operation, written before and after each step, so that any console sees what is under way.

    Failures to write or read are kept in `problem` and not raised. Safe to use from several threads.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, "history")
        self._read_at: tuple[int, bool] | None = None
        """The file's time when it was last read, and whether anything was under way then"""

    @property
    def problem(self) -> str:
        """Why the history is not whole; empty when all is well."""
        return self._database.problem

    def write(self, entry: Entry) -> bool:
        """In the name of this process. Whether it could be written; `problem` says why not."""
        status = entry.status
        identity = identify(os.getpid())
        row = (
            *(status.id, status.began_at, status.outcome.value, to_json(status), entry.request.to_json()),
            *(entry.context, os.getpid(), identity[1] if identity else None, identity[2] if identity else ""),
        )
        return self._database.write(("INSERT OR REPLACE INTO journal VALUES (?,?,?,?,?,?,?,?,?)", row))

    def settle(self, status: OperationStatus, how: str) -> bool:
        """Marks an interrupted operation as settled, so that nobody is asked to settle it again."""
        settled = replace(status, settled_by=how)
        values = (settled.outcome.value, to_json(settled), settled.id)
        return self._database.write(("UPDATE journal SET outcome = ?, status = ? WHERE id = ?", values))

    def recent(self, limit: int = 50) -> tuple[OperationStatus, ...]:
        """Newest first. One whose process is gone without an outcome is shown as interrupted."""
        return self._recent(limit) or ()

    def entry(self, operation: str) -> Entry | None:
        """By its id; None when there is none, or it cannot be read."""
        found = self._database.read("SELECT * FROM journal WHERE id = ?", (operation,), _entry)
        return found[0] if found else None

    def recent_if_changed(self) -> tuple[OperationStatus, ...] | None:
        """As `recent`; None when it cannot have changed since the last call, or cannot be read."""
        changed_at = self._database.changed_at
        if self._read_at == (changed_at, False):
            return None
        found = self._recent()
        if found is None:
            return None
        self._read_at = (changed_at, any(status.outcome is Outcome.RUNNING for status in found))
        return found

    def _recent(self, limit: int = 50) -> tuple[OperationStatus, ...] | None:
        """None when it cannot be read."""
        found = self._database.read("SELECT * FROM journal ORDER BY began_at DESC LIMIT ?", (limit,), _status)
        return None if found is None else tuple(found)


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(_status(row), Request.from_json(row["request"]), row["context"])


def _status(row: sqlite3.Row) -> OperationStatus:
    status = from_json(row["status"])
    if status.outcome is not Outcome.RUNNING:
        return status
    if identify(row["pid"]) == (row["pid"], row["pid_began"], row["pid_boot"]):
        return status
    message = "Its process is gone and left no outcome. It can be finished or rolled back."
    steps = tuple(
        replace(step, outcome=Outcome.INTERRUPTED) if step.outcome is Outcome.RUNNING else step for step in status.steps
    )
    return replace(status, outcome=Outcome.INTERRUPTED, message=message, steps=steps)
