"""All that is wrong with profiles: with each file, and with each profile's plan."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.catalog import CatalogEntry, CatalogReader, files_in, is_shipped, line_of, read, resolved
from engine.errors import InvalidProfile, NotFound
from engine.snapshot import ProfileProblem
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.plan import Plan
    from engine.settings import Settings

_KEY = re.compile(r"`([A-Za-z_][\w.-]*)")


@dataclass(frozen=True, slots=True)
class Checked:
    """One file."""

    path: str
    name: str = ""
    """Empty when the file cannot be read as a profile"""
    stack: str = ""
    problems: tuple[ProfileProblem, ...] = ()
    """Why it cannot be used"""
    notes: tuple[str, ...] = ()
    """What its plan warns of"""


def check(settings: "Settings", paths: Sequence[Path] = ()) -> list[Checked]:
    """The given files and folders, otherwise all that the catalog finds. Raises `NotFound` for a path without one.

    Plans are made for a machine whose GPUs are not known: whether they suffice here is not the file's fault.
    """
    if not paths:
        catalog = CatalogReader(settings).load()
        wrong: dict[str, list[ProfileProblem]] = {}
        for problem in catalog.details:
            wrong.setdefault(problem.path, []).append(problem)
        found = [Checked(path, problems=tuple(problems)) for path, problems in wrong.items()]
        return [*found, *(check_entry(settings, entry) for entry in catalog.entries.values())]
    checked = []
    for path in _files(paths):
        entry = read(path)
        checked.append(
            Checked(clean_line(str(path)), problems=entry) if isinstance(entry, tuple) else check_entry(settings, entry)
        )
    return checked


def check_entry(settings: "Settings", entry: CatalogEntry) -> Checked:
    """By its plan, on its own runtime; when that is not possible here, on another that it allows."""
    from engine.stacks.context import possible_runtimes

    profile, path = entry.profile, clean_line(str(entry.path))
    own, *others = possible_runtimes(profile)
    try:
        plan = plan_entry(settings, entry, own)
    except InvalidProfile as error:
        for runtime in others if profile.runtime == "process" else ():
            try:
                plan_entry(settings, entry, runtime)
            except InvalidProfile:
                continue
            return Checked(path, profile.name, profile.stack, (), (f"not on {own} here: {_without(error, path)}",))
        message = _without(error, path)
        if is_shipped(settings, entry.path):
            # Nobody here can correct it: what it needs is for others to have, such as a folder of engines.
            return Checked(path, profile.name, profile.stack, (), (f"cannot be started here: {message}",))
        key = _KEY.search(message)
        problem = ProfileProblem(path, line_of(entry.path, key[1]) if key else None, message)
        return Checked(path, profile.name, profile.stack, (problem,))
    return Checked(path, profile.name, profile.stack, (), tuple(map(clean_line, (*plan.obstacles, *plan.warnings))))


def plan_entry(settings: "Settings", entry: CatalogEntry, runtime: str | None = None) -> "Plan":
    """Without asking the machine for its GPUs. Raises `InvalidProfile`."""
    from engine.stacks import STACKS
    from engine.stacks.context import PlanContext

    profile = entry.profile
    return STACKS[profile.stack](PlanContext(profile, entry.path, entry.digest, runtime or profile.runtime, settings))


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        try:
            found = files_in(resolved(path)) if path.is_dir() else [path.absolute()] if path.exists() else []
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror or error}.", "Correct its permissions.") from error
        if not found:
            raise NotFound(
                f"{path} has no profiles." if path.is_dir() else f"There is no file {path}.",
                "Name a .yaml file, or a folder of them.",
            )
        files += found
    return list(dict.fromkeys(files))


def _without(error: InvalidProfile, path: str) -> str:
    """The position is told apart."""
    return clean_line(str(error)).removeprefix(f"{path}: ")
