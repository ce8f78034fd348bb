"""Every launch and how long it took, in SQLite, and what the next one of the same may take."""

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.database import Database, Statement
from engine.estimates import ENOUGH
from engine.request import Way
from engine.snapshot import Estimate
from engine.startup import Reported
from engine.text import clean_line, mask_secrets

if TYPE_CHECKING:
    from engine.plan import Launch

Cache = Literal["cold", "warm"]
Phases = tuple[tuple[str, float], ...]
"""Title and seconds, in their order; the title of a phase of the start is its `engine.startup.Phase`"""

SCHEMA = """
CREATE TABLE IF NOT EXISTS launches (
    name TEXT NOT NULL, profile_digest TEXT NOT NULL, image TEXT NOT NULL, image_id TEXT NOT NULL, host TEXT NOT NULL,
    runtime TEXT NOT NULL, cache TEXT NOT NULL, began_at REAL NOT NULL, phases TEXT NOT NULL, seconds REAL NOT NULL,
    outcome TEXT NOT NULL, way TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS launches_by_name ON launches (name, outcome, began_at);
CREATE TABLE IF NOT EXISTS launch_figures (
    name TEXT NOT NULL, host TEXT NOT NULL, began_at REAL NOT NULL, reported TEXT NOT NULL,
    PRIMARY KEY (name, host, began_at)
);
"""
"""Figures have a table of their own: older versions, which may use the same file, count the columns of launches"""
KEPT: Mapping[str, int] = {"ready": 150, "failed": 50}
"""Of each name, the latest: those that fail over and over push out none of those that tell how long it takes"""
LATEST = 20
"""An estimate is made from so many at most, so that it follows what has changed"""
RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Launched:
    """One launch that has ended, one way or the other. Times are seconds since the epoch."""

    name: str
    profile_digest: str
    image: str
    """Reference, or the program on the process runtime"""
    image_id: str
    host: str
    runtime: str
    cache: Cache
    """As `cache_state` found it before the launch"""
    began_at: float
    phases: Phases
    seconds: float
    """Until the prompt was answered, or it had failed"""
    outcome: Literal["ready", "failed"]
    way: Way = Way.FULL
    reported: tuple[Reported, ...] = ()
    """What the engine told of itself"""


class Launches:
    """Failures to write or read are kept in `problem` and not raised: then there is no estimate.

    Safe to use from several threads and processes.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, SCHEMA, "history")
        self._known: tuple[int, dict[str, list[Launched]]] = (0, {})
        """Successful ones by name, newest first, as they were when the file had that time"""
        self._names: tuple[int, frozenset[str]] = (0, frozenset())
        self._retry_at = 0.0
        """On the monotonic clock: a file that cannot be read is not waited for once for each model"""

    @property
    def problem(self) -> str:
        """Why the launches are not whole; empty when all is well."""
        return self._database.problem

    def record(self, launched: Launched) -> None:
        phases = [(clean_line(mask_secrets(title)), seconds) for title, seconds in launched.phases]
        row = (
            *(launched.name, launched.profile_digest, launched.image, launched.image_id, launched.host),
            *(launched.runtime, launched.cache, launched.began_at, json.dumps(phases), launched.seconds),
            *(launched.outcome, launched.way.value),
        )
        of_these = (launched.name, launched.outcome, KEPT[launched.outcome])
        told: list[Statement] = []
        if launched.reported:
            figures = [(one.key, one.value, clean_line(mask_secrets(one.line))) for one in launched.reported]
            of_this = (launched.name, launched.host, launched.began_at, json.dumps(figures))
            told = [("INSERT OR REPLACE INTO launch_figures VALUES (?,?,?,?)", of_this)]
        self._database.write(
            ("INSERT INTO launches VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", row),
            *told,
            (
                "DELETE FROM launches WHERE rowid IN (SELECT rowid FROM launches WHERE name = ? AND outcome = ?"
                " ORDER BY began_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
                of_these,
            ),
            (
                "DELETE FROM launch_figures WHERE (name, host, began_at) NOT IN"
                " (SELECT name, host, began_at FROM launches)",
                (),
            ),
        )

    def estimate(
        self, name: str, profile_digest: str, image_id: str, host: str, cache: Cache, *, way: Way = Way.FULL
    ) -> Estimate | None:
        """How long a launch of this takes until its prompt is answered; None when none like it has succeeded.

        From the latest launches of exactly the same, or else of what is most like it; then `note` says what differs.
        """
        found, note = self._alike(name, profile_digest, image_id, host, cache, way)
        return _spread([launched.seconds for launched in found], note) if found else None

    def phases(
        self, name: str, profile_digest: str, image_id: str, host: str, cache: Cache, *, way: Way = Way.FULL
    ) -> Phases:
        """The typical seconds of each phase, in the latest launch's order, from those that `estimate` is made from."""
        import statistics

        found, _ = self._alike(name, profile_digest, image_id, host, cache, way)
        taken: dict[str, list[float]] = {}
        for launched in found:
            for title, seconds in launched.phases:
                taken.setdefault(title, []).append(seconds)
        # A phase that most launches do not have (a download) is not to be waited for.
        usual = {title: times for title, times in taken.items() if 2 * len(times) >= len(found)}
        return tuple((title, statistics.median(times)) for title, times in usual.items())

    def reported(self, name: str, host: str) -> tuple[Reported, ...]:
        """What the engine told of itself in the latest launch on this host that succeeded and told anything."""
        query = (
            "SELECT reported FROM launch_figures JOIN launches USING (name, host, began_at)"
            " WHERE name = ? AND host = ? AND outcome = 'ready' ORDER BY began_at DESC LIMIT 1"
        )
        if self._database.changed_at == 0:
            return ()
        found = self._database.read(query, (name, host), _reported)
        return found[0] if found else ()

    def names(self) -> frozenset[str]:
        """Of what has been launched with success."""
        changed_at = self._database.changed_at
        if changed_at and changed_at != self._names[0] and time.monotonic() >= self._retry_at:
            query = "SELECT DISTINCT name FROM launches WHERE outcome = 'ready'"
            found = self._database.read(query, (), lambda row: str(row["name"]))
            if found is None:
                self._retry_at = time.monotonic() + RETRY_S
            else:
                self._names = (changed_at, frozenset(found))
        return self._names[1]

    def last_ready(self, name: str, host: str) -> float | None:
        """When the latest launch on this host that succeeded began."""
        return next((launched.began_at for launched in self._ready(name) if launched.host == host), None)

    def _alike(
        self, name: str, profile_digest: str, image_id: str, host: str, cache: Cache, way: Way
    ) -> tuple[list[Launched], str]:
        """The latest of those that differ least, and what differs."""
        groups: dict[tuple[bool, bool, bool, bool], list[Launched]] = {}
        for launched in self._ready(name):
            if launched.way is way:
                # In the order of how much each changes the time.
                differs = (
                    launched.host != host,
                    launched.cache != cache,
                    launched.image_id != image_id,
                    launched.profile_digest != profile_digest,
                )
                groups.setdefault(differs, []).append(launched)
        if not groups:
            return [], ""
        least = min(groups)
        found = groups[least][:LATEST]
        hosts = ", ".join(sorted({clean_line(launched.host) for launched in found}))
        words = (f"measured on {hosts}", f"the cache is {cache} now", "another image", "the profile has changed since")
        return found, ", ".join(word for word, one in zip(words, least, strict=True) if one)

    def _ready(self, name: str) -> Iterable[Launched]:
        """Asked for every model again and again: what has not changed is not read again."""
        changed_at = self._database.changed_at
        if changed_at == 0 or time.monotonic() < self._retry_at:
            return ()
        if changed_at != self._known[0]:
            self._known = (changed_at, {})
        known = self._known[1]
        if name not in known:
            query = "SELECT * FROM launches WHERE name = ? AND outcome = 'ready' ORDER BY began_at DESC, rowid DESC"
            found = self._database.read(query, (name,), _launched)
            if found is None:
                self._retry_at = time.monotonic() + RETRY_S
                return ()
            known[name] = found
        return known[name]


def cache_state(launches: Launches, launch: "Launch", model: str | None, host: str) -> Cache:
    """Whether a launch finds the model's files at hand. `model`: as in the profile. Blocks (looks at files).

    Cold: they are not in the Hugging Face cache that the launch uses, as far as that can be seen; or no launch of this
    name has succeeded since the machine booted, so that nothing of them is in its page cache. Otherwise warm.
    """
    if _is_missing(launch, model):
        return "cold"
    last = launches.last_ready(launch.name, host)
    return "warm" if last is not None and last >= _booted_at() else "cold"


def _is_missing(launch: "Launch", model: str | None) -> bool:
    """False, too, for what cannot be told: a folder's files, another store's, and those in a container engine's volume.

    A volume that is gone or new since the last launch is told by nobody here; that start is then late.
    """
    from engine.observe.startup_files import model_folder

    mounts = {mount.target: mount.source for mount in launch.mounts}
    folder = model_folder(launch.runtime, launch.env, mounts, model)
    if folder is None:
        return False
    try:
        return not any((folder / "snapshots").iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the server may see what this user may not


def _booted_at() -> float:
    """Seconds since the epoch; 0 when the kernel does not say (proc(5): `btime`)."""
    try:
        for line in Path("/proc/stat").read_bytes().splitlines():
            if line.startswith(b"btime "):
                return float(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass  # as if it had always been up
    return 0.0


def _spread(seconds: list[float], note: str) -> Estimate:
    import statistics

    low, high = min(seconds), max(seconds)
    if len(seconds) >= ENOUGH:
        tenths = statistics.quantiles(seconds, n=10, method="inclusive")
        low, high = tenths[0], tenths[-1]
    return Estimate(statistics.median(seconds), low, high, len(seconds), note)


def _reported(row: sqlite3.Row) -> tuple[Reported, ...]:
    """Raises ValueError or TypeError when the row is none that `record` writes."""
    return tuple(Reported(str(key), float(value), str(line)) for key, value, line in json.loads(row["reported"]))


def _launched(row: sqlite3.Row) -> Launched:
    """Raises ValueError, TypeError or KeyError when the row is none that `record` writes."""
    cache, outcome = row["cache"], row["outcome"]
    if cache not in ("cold", "warm") or outcome not in ("ready", "failed"):
        raise ValueError("a launch is neither cold nor warm, or has no outcome")
    words = ("name", "profile_digest", "image", "image_id", "host", "runtime")
    return Launched(
        **{word: str(row[word]) for word in words},
        cache=cache,
        began_at=float(row["began_at"]),
        phases=tuple((clean_line(str(title)), float(seconds)) for title, seconds in json.loads(row["phases"])),
        seconds=float(row["seconds"]),
        outcome=outcome,
        way=Way(row["way"]),
        reported=(),
    )
