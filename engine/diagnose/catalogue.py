"""Known failures, as data: `signatures/*.toml`, one file for each program that tells of them. Checked when read.

The keys of an entry are the fields of `Signature`; what stands under `all` holds for all of its file. `match`, `near`
and `unless` are regular expressions of the `re` module; what their named groups capture can stand in `cause`, `remedy`
and `change` as `{name}`; what `name2` captures in another branch is `{name}`, too. `cause` and `remedy` may be lists:
the first sentence counts for which the log has all values. An image is always the container's, and none that is looked
at: for what runs without a container the sentences speak of an installation in its place.

`fix` names what computes a change from the captures and the profile, in `engine.diagnose.remedies.REMEDIES`.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from engine.diagnosis import Weight

_FOLDER = Path(__file__).parent / "signatures"
_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LEAST_HINT = 4
"""Characters: with fewer it would be found everywhere"""
ROOT, SYMPTOM, CONSEQUENCE = 60, 50, 20
"""Usual depths: a wrong setting; what the machine or the program says of itself; what follows from another's end"""
FROM_CONTEXT = frozenset({"port"})
"""Captured elsewhere in the log: `run.Run.context`"""


@dataclass(frozen=True, slots=True)
class Signature:
    id: str
    title: str
    """Two to five words"""
    hints: tuple[str, ...]
    """One of them stands in every line that matches: looked for before the expression is tried. As written, ASCII"""
    match: re.Pattern[str]
    """Found somewhere in a line, behind its prefix"""
    cause: tuple[str, ...]
    """A sentence"""
    remedy: tuple[str, ...]
    """A sentence"""
    unless: re.Pattern[str] | None = None
    """Not when this is found in the line"""
    near: re.Pattern[str] | None = None
    """Only when this is found in the lines that follow, too; they have line feeds between them"""
    within: int = 3
    """How many of them"""
    weight: Weight = Weight.CAUSE
    depth: int = SYMPTOM
    """Of several causes, the deepest is the likeliest, and the earliest of these"""
    request: bool = False
    """It fails requests, and no server"""
    starting: bool = False
    """It hinders a start; to a server that serves it is the fault of a request"""
    follows: tuple[str, ...] = ()
    """Signatures of which it is a consequence: with one of them it says nothing"""
    stacks: tuple[str, ...] = ()
    """Where its change makes sense; empty: all"""
    versions: str = ""
    """Of the program, where it says so; for readers"""
    fix: str = ""
    change: tuple[tuple[str, str | int | float | bool], ...] = ()
    """Paths of the profile and their values, from captures"""
    drop: tuple[str, ...] = ()
    """Paths of the profile that are to go where it has them"""
    reference: str = ""

    @property
    def captures(self) -> frozenset[str]:
        groups = (*self.match.groupindex, *(self.near.groupindex if self.near else ()))
        return frozenset(map(plain_name, groups)) | FROM_CONTEXT


def plain_name(group: str) -> str:
    """Of a group of an expression, in which a name can stand but once: `port2` is a `port`."""
    return group.rstrip("23456789")


class Unsound(ValueError):
    """An entry of the catalogue is wrong: says which, and why."""


@cache
def catalogue() -> Mapping[str, Signature]:
    """All signatures by id. Raises `Unsound`."""
    found: dict[str, Signature] = {}
    for file in sorted(_FOLDER.glob("*.toml")):
        for entry in read(file.read_text(encoding="utf-8"), file.name):
            if entry.id in found:
                raise Unsound(f"{file.name}: the id {entry.id} is there twice")
            found[entry.id] = entry
    return found


def read(text: str, name: str) -> list[Signature]:
    """The entries of one file. Raises `Unsound`."""
    try:
        content = tomllib.loads(text)
        return [_signature(content.get("all", {}) | entry, name) for entry in content["signature"]]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise Unsound(f"{name}: {error}") from error


def _signature(entry: Mapping[str, Any], name: str) -> Signature:
    where = f"{name}, {entry.get('id', 'an entry without an id')}"
    unknown = set(entry) - {field.name for field in fields(Signature)}
    if unknown:
        raise Unsound(f"{where}: no such key: {', '.join(sorted(unknown))}")
    given: dict[str, Any] = dict(entry)
    try:
        for key in ("match", "near", "unless"):
            if key in given:
                given[key] = re.compile(given[key])
        for key in ("cause", "remedy"):
            given[key] = (given[key],) if isinstance(given[key], str) else tuple(given[key])
        for key in ("hints", "follows", "stacks", "drop"):
            given[key] = tuple(given.get(key, ()))
        given["change"] = tuple(given.get("change", {}).items())
        given["weight"] = Weight(given.get("weight", Weight.CAUSE))
        signature = Signature(**given)
        problem = next(_problems(signature), None)
    except (re.error, KeyError, TypeError, ValueError) as error:
        raise Unsound(f"{where}: {error}") from error
    if problem:
        raise Unsound(f"{where}: {problem}")
    return signature


def _problems(signature: Signature) -> Iterator[str]:
    if not _ID.fullmatch(signature.id):
        yield "an id is lower-case words with hyphens between them"
    if not signature.hints:
        yield "it has no hint"
    for hint in signature.hints:
        if len(hint) < _LEAST_HINT or not hint.isascii() or not hint.isprintable():
            yield f"the hint {hint!r} is too short, or not printable ASCII"
    if signature.fix and (signature.change or signature.drop):
        yield "it has both a fix and a change"
    texts = [*signature.cause, *signature.remedy, *(value for _, value in signature.change if isinstance(value, str))]
    for text in texts:
        missing = wanted(text) - signature.captures
        if missing:
            yield f"nothing captures {', '.join(sorted(missing))}"


def wanted(template: str) -> set[str]:
    """The captures that it needs. Raises `ValueError` for what is no template."""
    names: set[str] = set()
    for _, name, spec, conversion in Formatter().parse(template):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"{{{name}}} is no plain name: {template}")
        names.add(name)
    return names


def fill(templates: Iterable[str], captures: Mapping[str, str]) -> str:
    """The first for which there are all values; nothing when there is none."""
    return next((one.format_map(captures) for one in templates if wanted(one) <= captures.keys()), "")
