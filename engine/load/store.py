"""Load tests that were made, in one SQLite file; losing it loses no control over any deployment."""

import secrets
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path

from engine.database import Database
from engine.load import codec
from engine.load.codec import Records
from engine.load_result import LoadResult

MOST_RESULTS = 500
"""The last are kept"""
MOST_WITH_RECORDS = 100
"""Of older ones there are the figures only"""
MOST_RECORDS = 20_000
"""Requests of one result; each level has an equal share of them"""
SCHEMA = """
CREATE TABLE IF NOT EXISTS loads (
    id TEXT PRIMARY KEY, began_at REAL NOT NULL, deployment TEXT NOT NULL, result TEXT NOT NULL, records BLOB
);
"""
# By when they were kept: a clock that is set back makes none old.
_NEWEST = "SELECT id FROM loads ORDER BY rowid DESC LIMIT ?"


class LoadStore:
    """Failures to write or read are kept in `problem` and not raised. Threads and processes may share one file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, "history of load tests")
        self._damaged = 0
        self._unkept: tuple[LoadResult, Records] | None = None

    @property
    def problem(self) -> str:
        """Why not all could be kept or read; empty when all is well."""
        if self._damaged and not self._database.problem:
            return f"{self._damaged} kept load tests cannot be read; they were damaged, or written by another version."
        return self._database.problem

    def keep(self, result: LoadResult, records: Records) -> LoadResult:
        """With its id, or without one when it could not be kept: then its message says why, too. Blocks.

        One that came to nothing is not kept, and comes back as it is. `records` are cut to `MOST_RECORDS`.
        """
        if result.came_to_nothing:
            return result
        kept = replace(result, id=result.id or secrets.token_hex(4))
        row = (kept.id, kept.began_at, kept.deployment, codec.dump(kept), _packed(records))
        written = self._database.write(
            ("INSERT OR REPLACE INTO loads VALUES (?,?,?,?,?)", row),
            (f"DELETE FROM loads WHERE id NOT IN ({_NEWEST})", (MOST_RESULTS,)),  # noqa: S608 (no text from outside)
            (
                f"UPDATE loads SET records = NULL WHERE records IS NOT NULL AND id NOT IN ({_NEWEST})",  # noqa: S608
                (MOST_WITH_RECORDS,),
            ),
        )
        if written:
            return kept
        return replace(result, message=f"{result.message} {self._database.problem}".lstrip())

    def hold(self, result: LoadResult, records: Records) -> None:
        """In memory, one that could not be kept; the last one only."""
        self._unkept = (result, records)

    def results(self, name: str | None = None, limit: int = 100) -> tuple[LoadResult, ...]:
        """Newest first, of one deployment or all. Blocks."""
        chosen = "" if name is None else "WHERE deployment = ? "
        found = self._database.read(
            f"SELECT result FROM loads {chosen}ORDER BY rowid DESC LIMIT ?",  # noqa: S608 (no text from outside)
            (limit,) if name is None else (name, limit),
            _result,
        )
        results = tuple(result for result in found or () if result is not None)
        self._damaged = len(found or ()) - len(results)
        return results

    def records(self, result: LoadResult) -> Records:
        """Of each of its levels; none where they are not kept any more, or cannot be read. Blocks."""
        if not result.id:
            # Told by when it began: its message may have been worded anew.
            held, records = self._unkept or (None, ())
            return records if held and held.began_at == result.began_at else ()
        found = self._database.read("SELECT records FROM loads WHERE id = ?", (result.id,), _records)
        return found[0] if found else ()


def left_out(result: LoadResult, records: Records) -> int:
    """How many of a result's requests are not among those that are kept."""
    there = sum(level.done + level.failed + level.not_sent for level in result.levels)
    return max(0, there - sum(map(len, records)))


def cut(records: Records) -> Records:
    """The first of each level, `MOST_RECORDS` at most in all; what a level does not need of its share others have."""
    left, kept = MOST_RECORDS, dict.fromkeys(range(len(records)), 0)
    for behind, place in enumerate(sorted(kept, key=lambda place: len(records[place]))):
        kept[place] = min(len(records[place]), left // (len(records) - behind))
        left -= kept[place]
    return tuple(level[: kept[place]] for place, level in enumerate(records))


def _packed(records: Records) -> bytes:
    return zlib.compress(codec.dump(cut(records)).encode())


def _result(row: sqlite3.Row) -> LoadResult | None:
    """One that cannot be read must not hide the others."""
    try:
        return codec.result(row["result"])
    except ValueError:
        return None


def _records(row: sqlite3.Row) -> Records:
    if row["records"] is None:
        return ()
    try:
        return codec.records(zlib.decompress(row["records"]).decode())
    except zlib.error as error:
        raise ValueError(f"damaged requests ({error})") from error
