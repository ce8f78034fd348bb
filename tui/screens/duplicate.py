"""The question under which name a profile is copied."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from engine.api import EngineApi
from engine.errors import EngineError

NAME_PATTERN = r"^[a-z0-9][a-z0-9.-]*$"
"""As in `engine.profile`, whose import would hold up the screen"""
LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class Duplicated:
    name: str
    path: Path


class Duplicate(ModalScreen[Duplicated | None]):
    """Ends with the copy that was made, or with None."""

    BINDINGS = [Binding("escape", "no", "no", id="duplicate.no", tooltip="Make no copy")]

    def __init__(self, api: EngineApi, name: str, taken: Collection[str], why: str = "") -> None:
        super().__init__()
        self._api = api
        self._original = name
        self._taken = taken
        self._why = why
        self._working = False

    def compose(self) -> ComposeResult:
        with Vertical(id="duplicate-box") as box:
            box.border_title = f"copy {self._original}"
            if self._why:
                yield Static(self._why, id="duplicate-why", markup=False)
            yield Static("Name of the copy", classes="label")
            yield Input(
                free_name(self._original, self._taken), id="duplicate-name", compact=True, select_on_focus=False
            )
            yield Static("", id="duplicate-says", markup=False)
            with Horizontal(id="duplicate-buttons"):
                yield Button("Copy (enter)", variant="primary", id="yes", compact=True)
                yield Button("Cancel (escape)", id="no", compact=True)

    def on_mount(self) -> None:
        name = self.query_one(Input)
        name.cursor_blink = False
        name.focus()
        self._check()

    @on(Input.Changed)
    def _check(self) -> None:
        if not self._working:
            name = self.query_one(Input).value
            objection = objection_to(name, self._taken)
            self._say(f"▲ {objection}" if objection else "It goes into your own folder of profiles.")
            self.query_one("#yes", Button).disabled = bool(objection)

    def _say(self, sentence: str) -> None:
        self.query_one("#duplicate-says", Static).update(sentence)

    @on(Input.Submitted)
    @on(Button.Pressed, "#yes")
    def _go(self) -> None:
        name = self.query_one(Input).value
        if not self._working and not objection_to(name, self._taken):
            self._working = True
            self.query_one("#yes", Button).disabled = True
            self._say("Copying …")
            self._copy(name)

    @work(thread=True)
    def _copy(self, new_name: str) -> None:
        try:
            path = self.make(new_name)
        except EngineError as error:
            self.app.call_from_thread(self._refused, str(error))
        else:
            self.app.call_from_thread(self._done, Duplicated(new_name, path))

    def make(self, new_name: str) -> Path:
        """Blocks. Raises `EngineError`."""
        return self._api.duplicate(self._original, new_name)

    def _done(self, copy: Duplicated) -> None:
        if self.is_current:  # it may have been left meanwhile; the copy shows in the list
            self.dismiss(copy)

    def _refused(self, sentence: str) -> None:
        self._working = False
        self._say(f"▲ {sentence}")
        self.query_one("#yes", Button).disabled = False

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)


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
