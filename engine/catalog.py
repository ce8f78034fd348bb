"""Finds profiles and reads them. A wrong one is a problem with file, line and nearest valid key; the others work."""

import difflib
import errno
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import InvalidProfile, NotFound
from engine.profile_text import Location, TextProblem, parse
from engine.snapshot import ProfileProblem
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.profile import Profile
    from engine.settings import Settings

MAX_PROFILE_BYTES = 1 << 20
SUFFIXES = (".yaml", ".yml")
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
Problems = tuple[ProfileProblem, ...]
"""Of one file, in its order"""


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    profile: "Profile"
    path: Path
    digest: str
    """Of what is launched by the profile: not of its comments, and not of `watch`"""


@dataclass(frozen=True, slots=True)
class Catalog:
    entries: dict[str, CatalogEntry]
    problems: Problems
    """One for each wrong file, with how many more it has"""
    details: Problems = ()
    """Every one of every file"""

    def get(self, name: str) -> CatalogEntry:
        """Raises `NotFound`, or `InvalidProfile` when the file that should hold it is wrong."""
        if name in self.entries:
            return self.entries[name]
        for problem in self.problems:
            if Path(problem.path).stem == name:
                raise InvalidProfile(str(problem))
        near = difflib.get_close_matches(name, self.entries, n=1)
        hint = f"Did you mean {near[0]}?" if near else "`tritontui ls` shows those that exist."
        raise NotFound(f"There is no profile {clean_line(name)}.", hint)


class CatalogReader:
    """Reads the profile folders; files that have not changed are not read again."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._read: dict[Path, tuple[tuple[int, int], CatalogEntry | Problems]] = {}

    def load(self) -> Catalog:
        entries: dict[str, CatalogEntry] = {}
        problems: list[ProfileProblem] = []
        details: list[ProfileProblem] = []

        def complain(*found: ProfileProblem) -> None:
            problems.append(_first(found))
            details.extend(found)

        visited: set[Path] = set()
        seen: dict[Path, tuple[tuple[int, int], CatalogEntry | Problems]] = {}
        for folder in self._settings.profile_folders:
            try:
                folder = resolved(folder)
                if folder in visited:
                    continue
                visited.add(folder)
                files = files_in(folder)
            except FileNotFoundError:
                if folder in self._settings.profiles_dirs:
                    complain(_problem(folder, None, "This folder does not exist."))
                continue
            except OSError as error:
                complain(_problem(folder, None, f"The folder cannot be read: {error.strerror or error}."))
                continue
            here: dict[str, Path] = {}
            for path in files:
                result = self._cached(path, seen)
                if isinstance(result, tuple):
                    complain(*result)
                    continue
                name = result.profile.name
                if name in here:
                    message = f"The name {name} is already taken by {here[name].name}; give this profile another."
                    complain(_problem(path, 1, message))
                    continue
                here[name] = path
                entries.setdefault(name, result)
        self._read = seen
        return Catalog(entries, tuple(problems), tuple(details))

    def _cached(
        self, path: Path, seen: dict[Path, tuple[tuple[int, int], CatalogEntry | Problems]]
    ) -> CatalogEntry | Problems:
        try:
            stat = path.stat()
        except OSError as error:
            return (_problem(path, None, f"The file cannot be read: {error.strerror}."),)
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._read.get(path)
        seen[path] = known if known and known[0] == stamp else (stamp, read(path))
        return seen[path][1]


def resolved(path: Path) -> Path:
    """Absolute, without links and `~`. Raises OSError for what has no end or no home, where pathlib varies."""
    try:
        return path.expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise OSError(errno.EINVAL, str(error)) from error


def is_shipped(settings: "Settings", path: Path) -> bool:
    try:
        return resolved(path).is_relative_to(resolved(settings.shipped_profiles))
    except OSError:
        return False


def files_in(folder: Path) -> list[Path]:
    """In their order. Raises OSError."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def read_profile(path: Path) -> CatalogEntry | ProfileProblem:
    """Reads one file; never raises for what the file or the file system says. Of several problems the first."""
    result = read(path)
    return _first(result) if isinstance(result, tuple) else result


def read(path: Path) -> CatalogEntry | Problems:
    """As `read_profile`, with every problem."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_PROFILE_BYTES:
            return (_problem(path, None, "This is no profile: it must be a regular file of at most 1 MiB."),)
        return read_text(path, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        return (_problem(path, None, f"The file is not UTF-8 text (byte {error.start})."),)
    except OSError as error:
        return (_problem(path, None, f"The file cannot be read: {error.strerror}."),)


def read_text(path: Path, text: str) -> CatalogEntry | Problems:
    """The text as if it stood in that file."""
    from pydantic import ValidationError

    from engine.profile import Profile
    from engine.profile_complaints import complaints, unknown_stack

    try:
        data, lines = parse(text)
    except TextProblem as error:
        return (_problem(path, error.line, str(error)),)
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        if not {"name", "stack"} & set(data):  # each key of a file that is something else would be a problem
            return (_problem(path, 1, "This is no profile: it has neither `name` nor `stack`."),)
        return tuple(_problem(path, *one) for one in complaints(error.errors(include_url=False), lines))
    if unknown := unknown_stack(profile):
        return (_problem(path, lines.get(("stack",)), unknown),)
    # With its folder: the paths in a profile are relative to it.
    meaning = json.dumps([str(path.parent), profile.model_dump(mode="json", exclude={"watch"})], sort_keys=True)
    return CatalogEntry(profile, path, hashlib.sha256(meaning.encode()).hexdigest()[:16])


def line_of(path: Path, key: str) -> int | None:
    """Where a key stands, by its dotted path or, when only one has it, its last part; None when it does not."""
    try:
        lines = parse(path.read_text(encoding="utf-8"))[1]
    except (OSError, UnicodeDecodeError, TextProblem):
        return None
    parts: Location = tuple(key.split("."))
    found = [line for where, line in lines.items() if where[-len(parts) :] == parts]
    return lines.get(parts, found[0] if len(found) == 1 else None)


def _first(problems: Problems) -> ProfileProblem:
    first = problems[0]
    more = len({problem.line for problem in problems}) - 1
    return ProfileProblem(first.path, first.line, first.message + (f" ({more} more after it.)" if more else ""))


def _problem(path: Path, line: int | None, message: str) -> ProfileProblem:
    return ProfileProblem(clean_line(str(path)), line, clean_line(message))
