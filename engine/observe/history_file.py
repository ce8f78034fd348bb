"""What is kept of metrics on disk: one SQLite file of means, 10 s each, and of what is older a minute each."""

import hashlib
import json
import math
import sqlite3
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from engine.database import Database, Statement
from engine.metrics_reading import Group, Series
from engine.observe.timeline import NOTHING, STEP_S, Step
from engine.text import clean_line

FINE_KEPT_S = 24 * 3600
COARSE_S = 60
COARSE_KEPT_S = 7 * 24 * 3600
WINDOW_S = 600
"""So much is made into minutes at a time"""
WINDOWS = 2
MOST_BYTES = 64 << 20
MOST_KEYS = 400
"""Of one subject: in one step after the other, so that the bound holds with 50 of them"""
FINE_LEAST_S = 2 * 3600
"""When the file is too large, minutes are made of what is older than this"""
SHARE = 8
"""And when that is not enough, one part in so many of the time that it reaches back goes"""
REFRESH_S = 3600.0
MOST_WHOLE = 1 << 53

SCHEMA = """
CREATE TABLE IF NOT EXISTS means (
    subject TEXT NOT NULL, seconds INTEGER NOT NULL, at INTEGER NOT NULL, samples INTEGER NOT NULL,
    layout INTEGER NOT NULL, means BLOB NOT NULL, PRIMARY KEY (subject, seconds, at)
);
CREATE INDEX IF NOT EXISTS means_by_age ON means (seconds, at);
CREATE TABLE IF NOT EXISTS layouts (id INTEGER PRIMARY KEY, used INTEGER NOT NULL, keys TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS figures (subject TEXT PRIMARY KEY, used INTEGER NOT NULL, series TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pins (name TEXT NOT NULL, family TEXT NOT NULL, PRIMARY KEY (name, family)) WITHOUT ROWID;
"""
"""A row of means has a number (32 bits) for each key of its layout. Layouts and figures are `used` when last written"""

_INSERT = """
INSERT INTO means VALUES (?,?,?,?,?,?) ON CONFLICT DO UPDATE
SET samples = excluded.samples, layout = excluded.layout, means = excluded.means WHERE excluded.samples > samples
"""
_LAYOUT = """
INSERT INTO layouts VALUES (?,?,?) ON CONFLICT DO UPDATE
SET used = excluded.used WHERE used < ?
"""
_FIGURES = """
INSERT INTO figures VALUES (?,?,?) ON CONFLICT DO UPDATE SET used = excluded.used, series = excluded.series
"""
_EXTENT = """
SELECT (SELECT MIN(at) FROM means WHERE seconds = ?) AS fine,
    (SELECT MIN(at) FROM means WHERE seconds = ?) AS coarse,
    (page_count - freelist_count) * page_size AS used
FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()
"""
_ROWS = "SELECT subject, seconds, at, samples, means, keys FROM means JOIN layouts ON layouts.id = means.layout WHERE "


@dataclass(frozen=True, slots=True)
class Measured:
    """The means of some seconds, counted from `at` (seconds since the epoch)."""

    at: float
    seconds: int
    samples: int
    means: Mapping[str, float]
    subject: str = ""


class HistoryFile:
    """Blocks. Failures to write or read are kept in `problem` and not raised."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, "history of metrics")
        self._described: dict[str, tuple[float, str]] = {}
        """What was written of each subject's figures, and when"""
        self._damage = ""
        """Why means could not be read, when they were read last: what else can be read does not make them whole"""

    @property
    def problem(self) -> str:
        return self._database.problem or self._damage

    def write(self, batch: Mapping[str, tuple[Sequence[str], Iterable[Step]]], figures: Mapping[str, str]) -> bool:
        """By subject the keys and the steps; and what keys mean, as `to_text` writes it. Whether it could be done."""
        now = time.time()
        statements: list[Statement] = []
        for subject, (keys, steps) in batch.items():
            layout = _layout(keys, now)
            statements.append(layout)
            for step in steps:
                row = (subject, STEP_S, step.number * STEP_S, step.samples, layout[1][0], _packed(keys, step.means))
                statements.append((_INSERT, row))
        described = {}
        for subject, text in figures.items():
            at, before = self._described.get(subject, (0.0, ""))
            if text != before or now - at > REFRESH_S:
                described[subject] = (now, text)
                statements.append((_FIGURES, (subject, int(now), text)))
        done = self._database.write(*statements)
        if done:
            self._described |= described
        return done

    def steps(self, subject: str, since: float) -> list[Step]:
        """Means of 10 s from then until now, oldest first."""
        found = self._read(
            "subject = ? AND seconds = ? AND at >= ? AND at <= ? ORDER BY at", subject, STEP_S, since, time.time()
        )
        return [Step(int(one.at) // STEP_S, one.samples, one.means) for one in found]

    def measured(self, subject: str, since: float, until: float) -> list[Measured]:
        """Means of what lies wholly within that time, oldest first."""
        if not self._database.changed_at:
            return []  # to look makes no file
        return self._read(
            "subject = ? AND at >= ? AND at + seconds <= ? AND seconds IN (?, ?) ORDER BY at",
            *(subject, since, until, STEP_S, COARSE_S),
        )

    def figures(self, subject: str) -> tuple[Series, ...]:
        found = self._database.read(
            "SELECT series FROM figures WHERE subject = ?", (subject,), lambda row: from_text(row["series"])
        )
        return found[0] if found else ()

    def pins(self, name: str) -> frozenset[str] | None:
        """None when they cannot be read."""
        query = "SELECT family FROM pins WHERE name = ?"
        found = self._database.read(query, (name,), lambda row: clean_line(str(row["family"])))
        return None if found is None else frozenset(found)

    def set_pin(self, name: str, family: str, *, pinned: bool) -> bool:
        change = (
            "INSERT OR IGNORE INTO pins VALUES (?,?)" if pinned else "DELETE FROM pins WHERE name = ? AND family = ?"
        )
        return self._database.write((change, (name, family)))

    # -- bounds -------------------------------------------------------------------------------------------------------

    def tidy(self, now: float) -> None:
        """Makes minutes of what is older than a day, some at a time, and lets go what is too old or too much."""
        extent = self._extent()
        for _ in range(WINDOWS):
            if not extent:
                return
            fine, coarse, used = extent
            before = now - (FINE_LEAST_S if used > MOST_BYTES else FINE_KEPT_S)
            if fine is None or fine + WINDOW_S > before:
                break
            if not self._make_minutes(fine, now):
                return
            extent = self._extent()
        else:
            return  # there may be more of it: first things first
        oldest = min([at for at in (fine, coarse) if at is not None], default=now)
        since = now - COARSE_KEPT_S
        if used > MOST_BYTES:
            since = max(since, oldest + (now - oldest) / SHARE)
        if oldest < since - WINDOW_S:
            unused = since - REFRESH_S
            self._database.write(
                ("DELETE FROM means WHERE seconds IN (?, ?) AND at < ?", (STEP_S, COARSE_S, since)),
                ("DELETE FROM layouts WHERE used < ?", (unused,)),
                ("DELETE FROM figures WHERE used < ?", (unused,)),
            )

    def _extent(self) -> tuple[int | None, int | None, int] | None:
        """Where the means of 10 s begin, where those of minutes do, and how many bytes are in use."""
        found = self._database.read(
            _EXTENT,
            (STEP_S, COARSE_S),
            lambda row: (_whole_or_none(row["fine"]), _whole_or_none(row["coarse"]), _whole(row["used"])),
        )
        return found[0] if found else None

    def _make_minutes(self, oldest: int, now: float) -> bool:
        """Two consoles that do it at once write the same."""
        first = oldest - oldest % WINDOW_S
        extent = (STEP_S, first, first + WINDOW_S)
        found = self._read("seconds = ? AND at >= ? AND at < ? ORDER BY subject, at", *extent)
        statements: list[Statement] = []
        for (subject, minute), group in groupby(found, lambda one: (one.subject, int(one.at) // COARSE_S)):
            rows = list(group)
            means = {key: _mean(key, rows) for key in sorted({key for row in rows for key in row.means})}
            layout = _layout(list(means), now)
            samples = sum(row.samples for row in rows)
            row = (subject, COARSE_S, minute * COARSE_S, samples, layout[1][0], _packed(list(means), means))
            statements += [layout, (_INSERT, row)]
        statements.append(("DELETE FROM means WHERE seconds = ? AND at >= ? AND at < ?", extent))
        return self._database.write(*statements)

    def _read(self, where: str, *values: object) -> list[Measured]:
        layouts: dict[str, list[str]] = {}

        def measured(row: sqlite3.Row) -> Measured:
            text = row["keys"]
            keys = layouts.get(text)
            if keys is None:
                keys = layouts[text] = [str(key) for key in json.loads(text)]
            held = array("f")
            held.frombytes(row["means"])
            means = {key: value for key, value in zip(keys, held, strict=True) if math.isfinite(value)}
            numbers = _whole(row["at"]), _whole(row["seconds"]), _whole(row["samples"])
            if means and not all(numbers[1:]):
                raise ValueError("means of nothing")
            return Measured(float(numbers[0]), *numbers[1:], means, str(row["subject"]))

        found = self._database.read(_ROWS + where, values, measured)
        self._damage = self._database.problem if found is None else ""
        return found or []


def to_text(series: Iterable[Series]) -> str:
    return json.dumps([(one.key, one.title, one.unit, one.source, one.group, one.of) for one in series])


def from_text(text: str) -> tuple[Series, ...]:
    """Without times and values. Raises ValueError or TypeError when it is not what `to_text` writes."""
    rows = [tuple(map(str, row)) for row in json.loads(text)]
    return tuple(
        Series(key, title, unit, None, source, group=_group(group), of=of)
        for key, title, unit, source, group, of in rows
    )


def _whole(value: object) -> int:
    """Raises ValueError for what is never written here: a column takes anything, and a damaged file has anything."""
    if not isinstance(value, int) or not 0 <= value < MOST_WHOLE:
        raise ValueError(f"{value!r} is no number of seconds, samples or bytes")
    return value


def _whole_or_none(value: object) -> int | None:
    return None if value is None else _whole(value)


def _group(text: str) -> Group:
    """A newer version may have more of them."""
    return Group(text) if text in tuple(Group) else Group.SERVER


def _layout(keys: Sequence[str], now: float) -> Statement:
    """Consoles that know nothing of each other give the same keys the same number."""
    text = json.dumps(list(keys))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return _LAYOUT, (int.from_bytes(digest, signed=True), int(now), text, int(now - REFRESH_S))


def _packed(keys: Sequence[str], means: Mapping[str, float]) -> bytes:
    return array("f", [means.get(key, NOTHING) for key in keys]).tobytes()


def _mean(key: str, rows: Sequence[Measured]) -> float:
    """Over time: a step with fewer samples was measured for less of it."""
    known = [(row.means[key], row.samples) for row in rows if key in row.means]
    return math.fsum(mean * samples for mean, samples in known) / sum(samples for _, samples in known)
