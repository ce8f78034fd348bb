"""The files of profiles themselves: shown, and copied under another name with their comments."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api import ProfileSource
from engine.catalog import MAX_PROFILE_BYTES, NAME, SUFFIXES, Catalog, CatalogEntry, is_shipped, read_text, resolved
from engine.errors import InvalidProfile, NotFound, OperationFailed, Refused
from engine.text import clean, clean_line
from engine.whole_file import written_beside

if TYPE_CHECKING:
    import yaml

    from engine.settings import Settings

_FOLDERS = ("repository", "engines")
"""Always paths; what else may name a folder does so with a word that begins like a path"""
_REFERENCES = ("model", "tokenizer")


def source(catalog: Catalog, settings: "Settings", name: str) -> ProfileSource:
    """Of an invalid profile, too. Raises `NotFound`, and `OperationFailed` when the file cannot be read."""
    path = _path(catalog, name)
    text = _read(path)
    return ProfileSource(path, clean(text.removeprefix("\ufeff").replace("\r\n", "\n")), is_shipped(settings, path))


def duplicate(
    catalog: Catalog, settings: "Settings", name: str, new_name: str, edit: Callable[[str], str] | None = None
) -> Path:
    """Returns the new file, in the user's own folder; paths relative to the old one's folder become absolute.

    `edit` makes of the copy's text what is written, or raises `InvalidProfile`.

    Raises `Refused` for a name that is taken, `InvalidProfile`, `NotFound`, and `OperationFailed` when it cannot be
    written.
    """
    if not NAME.fullmatch(new_name):
        raise InvalidProfile(
            f"{clean_line(new_name)!r} cannot be a profile's name.",
            "It takes up to 63 lower-case letters, digits, dots and hyphens, beginning with a letter or digit.",
        )
    entry = catalog.get(name)
    folder = settings.config_dir / "profiles"
    target = folder / f"{new_name}.yaml"
    _refuse_taken(catalog, new_name, target)
    text = _renamed(_read(entry.path), entry, new_name)
    with _writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(text, target, entry, new_name)
        text = edit(text) if edit else text
        with written_beside(target, text) as new:
            try:
                # Nobody else's new file of that name is overwritten.
                target.touch(mode=0o600, exist_ok=False)
            except FileExistsError:
                raise _taken(new_name, target) from None
            new.replace(target)
    return target


def _path(catalog: Catalog, name: str) -> Path:
    if entry := catalog.entries.get(name):
        return entry.path
    for problem in catalog.problems:
        path = Path(problem.path)
        if path.stem == name and path.suffix in SUFFIXES:
            return path
    return catalog.get(name).path  # raises, with what was perhaps meant


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise NotFound(f"{path} is no file.")
        with path.open("rb") as file:
            content = file.read(MAX_PROFILE_BYTES + 1)
    except OSError as error:
        raise OperationFailed(f"{path} cannot be read: {error.strerror}.", "Correct its permissions.") from error
    if len(content) > MAX_PROFILE_BYTES:
        raise OperationFailed(f"{path} is more than 1 MiB: that is no profile.", "Move it out of the profiles' folder.")
    return content.decode("utf-8", "replace")


def _refuse_taken(catalog: Catalog, new_name: str, target: Path) -> None:
    if taken := catalog.entries.get(new_name):
        raise _taken(new_name, taken.path)
    for problem in catalog.problems:
        if Path(problem.path).stem == new_name:
            raise _taken(new_name, Path(problem.path))
    for path in (target, target.with_suffix(".yml")):
        if os.path.lexists(path):
            raise _taken(new_name, path)


def _taken(new_name: str, path: Path) -> Refused:
    return Refused(f"The name {new_name} is taken by {path}.", "Choose another.")


def _renamed(text: str, entry: CatalogEntry, new_name: str) -> str:
    """Only the values that change are replaced; all else stays as it was written."""
    import yaml

    try:
        # Not the C parser: its positions are not those of characters in every case.
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        root = None
    if not isinstance(root, yaml.MappingNode):
        raise InvalidProfile(f"{entry.path} has been changed, and is no profile now.", "Correct it first.")
    edits: set[tuple[int, int, str]] = set()
    for node, value in _changes(root, entry, new_name):
        begin, end = node.start_mark.index, node.end_mark.index
        # A block scalar (`|`) ends with its line.
        edits.add((begin, end, _scalar(value) + ("\n" if text[begin:end].endswith("\n") else "")))
    for begin, end, new in sorted(edits, reverse=True):
        text = text[:begin] + new + text[end:]
    return text


def _changes(root: "yaml.MappingNode", entry: CatalogEntry, new_name: str) -> "Iterator[tuple[yaml.Node, str]]":
    wanted = _as_wanted(entry, new_name)
    given = entry.profile.model_dump()
    for key_node, value_node in root.value:
        key = key_node.value
        if key in wanted and wanted[key] != given[key]:
            yield from _leaves(value_node, given[key], wanted[key])


def _leaves(node: "yaml.Node", given: Any, wanted: Any) -> "Iterator[tuple[yaml.Node, str]]":
    if isinstance(wanted, dict):
        for key_node, value_node in node.value:
            if key_node.value in wanted:
                yield from _leaves(value_node, given[key_node.value], wanted[key_node.value])
    elif isinstance(wanted, list):
        for item, old, new in zip(node.value, given, wanted, strict=True):
            yield from _leaves(item, old, new)
    elif given != wanted:
        yield node, wanted


def _as_wanted(entry: CatalogEntry, new_name: str) -> dict[str, Any]:
    """The new profile's values of the keys that can change."""
    profile = entry.profile
    wanted: dict[str, Any] = {"name": new_name}
    for key in _FOLDERS:
        wanted[key] = _absolute(entry, getattr(profile, key))
    for key in _REFERENCES:
        wanted[key] = _absolute_if_path(entry, getattr(profile, key))
    wanted["lora"] = {name: _absolute_if_path(entry, where) for name, where in profile.lora.items()}
    wanted["mounts"] = [_mount(entry, mount) for mount in profile.mounts]
    program = profile.program
    if program and (entry.path.parent / program).is_file():
        wanted["program"] = _absolute(entry, program)
    return wanted


def _mount(entry: CatalogEntry, mount: str) -> str:
    where, colon, rest = mount.partition(":")
    return f"{_absolute_if_path(entry, where)}{colon}{rest}"


def _absolute_if_path(entry: CatalogEntry, value: str | None) -> str | None:
    return _absolute(entry, value) if value and value.startswith(".") else value


def _absolute(entry: CatalogEntry, value: str | None) -> str | None:
    if not value or value.startswith(("/", "~")):
        return value
    try:
        return str(resolved(entry.path.parent / value))
    except OSError as error:
        raise InvalidProfile(f"{entry.path}: {value} is no path: {error}.", "Correct it in the profile.") from error


def _scalar(value: str) -> str:
    """Plain where that cannot be read otherwise; JSON's quoted text is YAML's."""
    import yaml

    plain = re.fullmatch(r"[\w./-]+", value, re.ASCII) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value, ensure_ascii=False)


def _check(text: str, target: Path, entry: CatalogEntry, new_name: str) -> None:
    """That the copy means what the original does. Raises `InvalidProfile`."""
    copy = read_text(target, text)
    wanted = entry.profile.model_copy(update=_as_wanted(entry, new_name))
    if not isinstance(copy, CatalogEntry) or copy.profile != wanted:
        raise InvalidProfile(
            f"{entry.path} cannot be copied under another name as it is written.",
            f"Copy the file by hand and write `name: {new_name}` into it.",
        )


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationFailed(
            f"The folder {folder} cannot be written: {error.strerror}.",
            "Correct its owner, permissions or free space, or set TRITONTUI_CONFIG_DIR.",
        ) from error
