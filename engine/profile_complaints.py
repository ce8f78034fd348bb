"""What is wrong with a profile's data, said in its own words: the key, its line, and the nearest valid key."""

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from engine.profile_text import Location
from engine.profile_words import as_yaml, reason, shown, wanted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from engine.profile import Profile

Complaint = tuple[int, str]
"""Line, from 1, and sentence"""
_STANDING_ALONE = ("extra_forbidden", "missing", "invalid_key")
_VARIABLE = "is no name of a variable, which takes letters, digits and underscores, and does not begin with a digit"
_NAMES: Mapping[str, str] = {
    "name": "takes lower-case letters, digits, dots and hyphens, beginning with a letter or digit",
    "lora": "is no name of an adapter, which takes letters, digits, dots, hyphens and underscores, beginning with a "
    "letter or digit",
    "env": _VARIABLE,
    "secrets": _VARIABLE,
}
"""What the patterns of `engine.profile` say"""


def complaints(errors: "Sequence[ErrorDetails]", lines: Mapping[Location, int]) -> list[Complaint]:
    """One for each place, in the file's order."""
    places: dict[tuple[Location, str], list[ErrorDetails]] = {}
    for error in errors:
        names = error["ctx"]["where"] if "where" in error.get("ctx", {}) else [None]
        for name in names:
            where = _place((*error["loc"], name) if name is not None else error["loc"], lines)
            kind = f"{error['type']} {error['loc'][-1]}" if error["type"] in _STANDING_ALONE else ""
            places.setdefault((where, kind), []).append(error)
    deepest = [
        (where, found)
        for (where, kind), found in places.items()
        # A wrong item of a list is told as such, not also as what else the whole could have been.
        if kind or not any(other != where and other[: len(where)] == where for other, _ in places)
    ]
    return sorted(((lines.get(where, 1), _sentence(found, where)) for where, found in deepest), key=lambda one: one[0])


def unknown_stack(profile: "Profile") -> str:
    """What is wrong with its stack; empty when it is one."""
    from engine.stacks import STACKS

    if profile.stack in STACKS:
        return ""
    near = difflib.get_close_matches(profile.stack, STACKS, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known stacks: {', '.join(STACKS)}."
    return f"`stack` is {profile.stack!r}: {hint}"


def _place(loc: Sequence[str | int], lines: Mapping[Location, int]) -> Location:
    """The path in the file: what pydantic adds for the kind of a value is left out."""
    where: Location = ()
    for part in loc:
        for name in (part, str(part)):
            if (*where, name) in lines:
                where = (*where, name)
                break
    return where


def _sentence(errors: "Sequence[ErrorDetails]", where: Location) -> str:
    error = errors[0]
    # What `<<` brings has no place of its own.
    key = shown(".".join(map(str, where or [part for part in error["loc"] if part != "[key]"])))
    match error["type"]:
        case "extra_forbidden":
            valid = _valid_keys(where[:-1])
            near = difflib.get_close_matches(shown(str(where[-1])), valid, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(valid)}."
            return f"Unknown key `{key}`; {hint}"
        case "missing":
            return f"The key `{'.'.join(map(str, (*where, error['loc'][-1])))}` is missing."
        case "value_error" | "secret_by_value" | "unknown_value":
            return f"`{key}`: {reason(error)}."
        case "invalid_key":
            parent = _parent(where, error["loc"][-1:])
            valid = _valid_keys(parent)
            return f"Unknown key `{_joined(parent, as_yaml(error['input']))}`; valid keys: {', '.join(valid)}."
        case "string_type" if error["loc"][-1:] == ("[key]",):
            key = _joined(_parent(where, error["loc"][-2:-1]), as_yaml(error["input"]))
            return f"`{key}` is a key that is no name; quote it if it is meant so."
        case "string_pattern_mismatch":
            return f"`{key}` {_NAMES[str(error['loc'][0])]}."
    if error["loc"][:1] in (("env",), ("secrets",)):  # what stands there may be a secret
        return f"`{key}`: it must be {wanted(errors)}."
    keys = f"; valid keys: {', '.join(_valid_keys(where))}" if error["type"] == "model_type" else ""
    return f"`{key}` is {as_yaml(error['input'])}: it must be {wanted(errors)}{keys}."


def _parent(where: Location, name: Location) -> Location:
    """Of a key whose name is none. `name`: as pydantic has it, which is not how YAML writes `true` or a date."""
    return where[:-1] if tuple(map(str, where[-1:])) == tuple(map(str, name)) else where


def _joined(where: Location, key: str) -> str:
    return shown(".".join(map(str, (*where, key))))


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
