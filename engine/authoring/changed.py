"""A profile with some of its values changed, its comments and its order kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import profile_files
from engine.authoring.write import checked, user_folder
from engine.authoring.yaml_edit import NotEditableError, edited
from engine.diagnosis import Change
from engine.errors import InvalidProfile
from engine.profile_text import TextProblem, parse

if TYPE_CHECKING:
    from engine.catalog import Catalog
    from engine.settings import Settings


def with_changes(catalog: "Catalog", settings: "Settings", name: str, changes: Sequence[Change]) -> str:
    """The profile's text as it would be. Raises `NotFound`, and `InvalidProfile` when it would be none."""
    entry = catalog.get(name)
    text = changed(profile_files.source(catalog, settings, name).text, changes)
    checked(text, entry.path)
    return text


def write_changed(
    catalog: "Catalog", settings: "Settings", name: str, new_name: str, changes: Sequence[Change]
) -> Path:
    """A copy with the changes, under the new name: as `engine.profile_files.duplicate`, which raises the same."""

    def edit(text: str) -> str:
        text = changed(text, changes)
        checked(text, user_folder(settings) / f"{new_name}.yaml")
        return text

    return profile_files.duplicate(catalog, settings, name, new_name, edit)


def changed(text: str, changes: Sequence[Change]) -> str:
    """Raises `InvalidProfile` when the text cannot be changed so without changing something else."""
    try:
        wanted = _apart(parse(text)[0])
        for change in changes:
            text = edited(text, change.path, change.value)
            _set(wanted, change)
        found = parse(text)[0]
    except (NotEditableError, TextProblem) as error:
        raise _by_hand(changes, f"{error}".rstrip(".")) from error
    if found != wanted:
        raise _by_hand(changes, "the same lines say something else, too")
    return text


def _apart(data: Any) -> Any:
    """What aliases share is changed in one place only."""
    if isinstance(data, dict):
        return {key: _apart(value) for key, value in data.items()}
    return [_apart(item) for item in data] if isinstance(data, list) else data


def _set(data: Any, change: Change) -> None:
    """As the text is changed, on what it means."""
    path, name = change.path, ""
    while True:
        name = max(
            (key for key in data if isinstance(key, str) and (path == key or path.startswith(f"{key}."))),
            key=len,
            default="",
        )
        if not name or path == name:
            break
        if data[name] is None:
            data[name] = {}
        if not isinstance(data[name], dict):
            raise NotEditableError(f"`{name}` holds no keys of its own")
        data, path = data[name], path[len(name) + 1 :]
    if change.value is None:
        data.pop(path, None)
        return
    *outer, last = [path] if name else path.split(".")
    for key in outer:
        data = data.setdefault(key, {})
    data[last] = change.value


def _by_hand(changes: Sequence[Change], why: str) -> InvalidProfile:
    asked = ", ".join(
        f"take out `{change.path}`" if change.value is None else f"set `{change.path}` to {change.value}"
        for change in changes
    )
    return InvalidProfile(f"The profile cannot be changed as it is written: {why}.", f"By hand: {asked}.")
