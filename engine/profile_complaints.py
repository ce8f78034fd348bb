"""What is wrong with a profile's data, said in its own words: the key, its line, and the nearest valid key."""

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from engine.profile_text import Location

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from engine.profile import Profile

Complaint = tuple[int, str]
"""Line, from 1, and sentence"""
LONGEST_VALUE = 60
_STANDING_ALONE = ("extra_forbidden", "missing")


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
    key = _shown(".".join(map(str, where)) or str(error["loc"][-1] if error["loc"] else ""))
    match error["type"]:
        case "extra_forbidden":
            valid = _valid_keys(where[:-1])
            near = difflib.get_close_matches(_shown(str(where[-1])), valid, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(valid)}."
            return f"Unknown key `{key}`; {hint}"
        case "missing":
            return f"The key `{'.'.join(map(str, (*where, error['loc'][-1])))}` is missing."
        case "string_pattern_mismatch" if key == "name":
            return "`name` takes lower-case letters, digits, dots and hyphens, beginning with a letter or digit."
        case "value_error" | "secret_by_value" | "unknown_value":
            return f"`{key}`: {error['msg'].removeprefix('Value error, ')}."
        case _ if error["loc"][-1:] == ("[key]",):
            return f"`{key}` is a key that is no name: {_lowered(error['msg'])}; quote it if it is meant so."
    reasons = list(dict.fromkeys(_lowered(one["msg"]) for one in errors))
    if any(one["type"] == "string_type" for one in errors) and isinstance(error["input"], int | float):
        reasons[-1] += "; put it in quotes"
    if where[:1] in (("env",), ("secrets",)):
        return f"`{key}`: {', or '.join(reasons)}."  # what stands there may be a secret
    return f"`{key}` is {_shown(repr(error['input']))}: {', or '.join(reasons)}."


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "…"


def _lowered(message: str) -> str:
    return message[:1].lower() + message[1:]


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
