"""Finds profiles and reads them. A wrong one is a problem with file, line and nearest valid key; the others work."""

import difflib
import errno
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from engine.errors import InvalidProfile, NotFound
from engine.snapshot import ProfileProblem
from engine.text import clean, clean_line

if TYPE_CHECKING:
    import yaml
    from pydantic_core import ErrorDetails

    from engine.profile import Profile
    from engine.settings import Settings

MAX_PROFILE_BYTES = 1 << 20
MAX_NODES = 20_000
"""Aliases counted as often as they stand: a few lines of them can mean more than fits in memory"""
MAX_DEPTH = 64
"""The C parser overflows its stack on deep nesting, which nothing can catch"""
Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    profile: "Profile"
    path: Path
    digest: str
    """Of the profile's meaning, not of its comments"""


@dataclass(frozen=True, slots=True)
class Catalog:
    entries: dict[str, CatalogEntry]
    problems: tuple[ProfileProblem, ...]

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
        self._read: dict[Path, tuple[tuple[int, int], CatalogEntry | ProfileProblem]] = {}

    def load(self) -> Catalog:
        entries: dict[str, CatalogEntry] = {}
        problems: list[ProfileProblem] = []
        visited: set[Path] = set()
        seen: dict[Path, tuple[tuple[int, int], CatalogEntry | ProfileProblem]] = {}
        for folder in self._settings.profile_folders:
            try:
                folder = resolved(folder)
                if folder in visited:
                    continue
                visited.add(folder)
                files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml"))
            except FileNotFoundError:
                if folder in self._settings.profiles_dirs:
                    problems.append(_problem(folder, None, "This folder does not exist."))
                continue
            except OSError as error:
                problems.append(_problem(folder, None, f"The folder cannot be read: {error.strerror or error}."))
                continue
            here: dict[str, Path] = {}
            for path in files:
                result = self._cached(path, seen)
                if isinstance(result, ProfileProblem):
                    problems.append(result)
                    continue
                name = result.profile.name
                if name in here:
                    message = f"The name {name} is already taken by {here[name].name}; give this profile another."
                    problems.append(_problem(path, 1, message))
                    continue
                here[name] = path
                entries.setdefault(name, result)
        self._read = seen
        return Catalog(entries, tuple(problems))

    def _cached(
        self, path: Path, seen: dict[Path, tuple[tuple[int, int], CatalogEntry | ProfileProblem]]
    ) -> CatalogEntry | ProfileProblem:
        try:
            stat = path.stat()
        except OSError as error:
            return _problem(path, None, f"The file cannot be read: {error.strerror}.")
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._read.get(path)
        seen[path] = known if known and known[0] == stamp else (stamp, read_profile(path))
        return seen[path][1]


def resolved(path: Path) -> Path:
    """Absolute, without links and `~`. Raises OSError for what has no end or no home, where pathlib varies."""
    try:
        return path.expanduser().resolve()
    except (RuntimeError, ValueError) as error:
        raise OSError(errno.EINVAL, str(error)) from error


def _problem(path: Path, line: int | None, message: str) -> ProfileProblem:
    return ProfileProblem(clean_line(str(path)), line, clean_line(message))


def read_profile(path: Path) -> CatalogEntry | ProfileProblem:
    """Reads one file; never raises for what the file or the file system says."""
    import yaml
    from pydantic import ValidationError

    from engine.profile import Profile

    def problem(line: int | None, message: str) -> ProfileProblem:
        return _problem(path, line, message)

    try:
        if not path.is_file() or path.stat().st_size > MAX_PROFILE_BYTES:
            return problem(None, "This is no profile: it must be a regular file of at most 1 MiB.")
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return problem(None, f"The file is not UTF-8 text (byte {error.start}).")
    except OSError as error:
        return problem(None, f"The file cannot be read: {error.strerror}.")
    make_loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_depth(yaml.parse(text, make_loader))
        loader = make_loader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                return problem(1, "A profile is a mapping of keys to values, beginning with `name:`.")
            lines = _positions(node)
            data = loader.construct_document(node)
        finally:
            loader.dispose()
    except _UnwantedError as error:
        return problem(error.line, str(error))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return problem(mark.line + 1 if mark else None, f"Not valid YAML: {error.problem or error.context}.")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return problem(None, f"Not valid YAML: {error}.")
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        return problem(*_explain(error.errors(include_url=False), lines))
    unknown = _unknown_stack(profile)
    if unknown:
        return problem(lines.get(("stack",)), unknown)
    # With its folder: the paths in a profile are relative to it.
    meaning = json.dumps([str(path.parent), profile.model_dump(mode="json")], sort_keys=True)
    return CatalogEntry(profile, path, hashlib.sha256(meaning.encode()).hexdigest()[:16])


class _UnwantedError(Exception):
    """Valid YAML that no profile has."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _check_depth(events: "Iterator[yaml.Event]") -> None:
    """Raises `_UnwantedError`."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise _UnwantedError(line, f"It is nested more than {MAX_DEPTH} levels deep.")


def _positions(root: "yaml.Node") -> dict[Location, int]:
    """Line (1-based) of each key and item by its path. Raises `_UnwantedError`."""
    found: dict[Location, int] = {}
    for number, (where, line) in enumerate(_walk(root, ())):
        if number > MAX_NODES or len(where) > MAX_DEPTH:
            raise _UnwantedError(line, "Its aliases make too much of it: write out what is meant.")
        found[where] = line
    return found


def _walk(node: "yaml.Node", where: Location) -> Iterator[tuple[Location, int]]:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        if clean(node.value.replace("\t", " ")) != node.value.replace("\t", " "):
            raise _UnwantedError(node.start_mark.line + 1, "It contains a control or invisible character.")
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise _UnwantedError(key.start_mark.line + 1, f"The key `{name}` stands twice.")
            seen.add(name)
            yield (*where, name), key.start_mark.line + 1
            yield from _walk(key, where)
            yield from _walk(value, (*where, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*where, index), item.start_mark.line + 1
            yield from _walk(item, (*where, index))


def _explain(errors: "list[ErrorDetails]", lines: dict[Location, int]) -> tuple[int | None, str]:
    """The first error in the file's order, with the nearest valid key, and how many more there are."""
    placed: list[tuple[int, str]] = []
    for error in errors:
        where = tuple(error["loc"])
        known = where
        while known and known not in lines:
            known = known[:-1]
        placed.append((lines.get(known, 1), _sentence(error, where, known)))
    placed.sort(key=lambda item: item[0])
    line, message = placed[0]
    more = len({line for line, _ in placed}) - 1
    return line, message + (f" ({more} more after it.)" if more else "")


def _sentence(error: "ErrorDetails", where: Location, known: Location) -> str:
    key = ".".join(str(part) for part in known) or str(where[-1] if where else "")
    match error["type"]:
        case "extra_forbidden":
            valid = _valid_keys(where[:-1])
            near = difflib.get_close_matches(str(where[-1]), valid, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(valid)}."
            return f"Unknown key `{key}`; {hint}"
        case "missing":
            return f"The key `{where[-1]}` is missing."
        case "string_pattern_mismatch" if key == "name":
            return "`name` takes lower-case letters, digits, dots and hyphens, beginning with a letter or digit."
        case "value_error":
            return f"`{key}`: {error['msg'].removeprefix('Value error, ')}."
        case _:
            given = repr(error["input"])
            shown = given if len(given) <= 60 else given[:57] + "…"
            return f"`{key}` is {shown}: {error['msg'][0].lower()}{error['msg'][1:]}."


def _valid_keys(where: Location) -> list[str]:
    from engine.profile import Profile

    model: type[Any] = Profile
    for part in where:
        field = model.model_fields.get(str(part))
        inner = next((kind for kind in _types(field.annotation if field else None) if _is_model(kind)), None)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _types(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


def _is_model(kind: object) -> bool:
    from pydantic import BaseModel

    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _unknown_stack(profile: "Profile") -> str:
    from engine.stacks import STACKS

    if profile.stack in STACKS:
        return ""
    near = difflib.get_close_matches(profile.stack, STACKS, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known stacks: {', '.join(STACKS)}."
    return f"`stack` is {profile.stack!r}: {hint}"
