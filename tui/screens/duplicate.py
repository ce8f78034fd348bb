"""The question under which name a profile is copied."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType

from engine.api import EngineApi
from tui.screens.naming import Naming

NAME_PATTERN = r"^[a-z0-9][a-z0-9.-]*$"
"""As in `engine.profile`, whose import would hold up the screen"""
LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class Duplicated:
    name: str
    path: Path


class Duplicate(Naming[Duplicated]):
    """Ends with the copy that was made, or with None."""

    PARTS = "duplicate"
    LABEL = "Name of the copy"
    YES = "Copy"
    DOING = "Copying …"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "no", "no", id="duplicate.no", tooltip="Make no copy"),
    ]

    def __init__(self, api: EngineApi, name: str, taken: Collection[str], why: str = "") -> None:
        super().__init__(f"copy {name}", free_name(name, taken), why)
        self._api = api
        self._original = name
        self._taken = taken

    def objection(self, name: str) -> str:
        return objection_to(name, self._taken)

    def hint(self, name: str) -> str:
        del name
        return "It goes into your own folder of profiles."

    def write(self, name: str) -> Duplicated:
        return Duplicated(name, self.make(name))

    def make(self, new_name: str) -> Path:
        """Blocks. Raises `EngineError`."""
        return self._api.duplicate(self._original, new_name)


def objection_to(name: str, taken: Collection[str]) -> str:
    """Why a profile cannot be called that; empty when it can."""
    if not name:
        return "It needs a name."
    if not re.fullmatch(NAME_PATTERN, name):
        return "A name takes lower-case letters, digits, dots and hyphens, and begins with a letter or digit."
    if len(name) > LONGEST_NAME:
        return f"A name has at most {LONGEST_NAME} characters."
    return f"{name} is taken." if name in taken else ""


def free_name(name: str, taken: Collection[str]) -> str:
    """NAME-2, or the next number that is free."""
    number = 2
    while (free := f"{name[: LONGEST_NAME - 1 - len(str(number))]}-{number}") in taken:
        number += 1
    return free
