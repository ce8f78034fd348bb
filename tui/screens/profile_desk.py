"""Profiles are edited and copied here, for the main screen, and it is told how that went."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.api import EngineApi, ProfileSource
from engine.errors import EngineError
from engine.snapshot import Model, ProfileProblem, Snapshot
from tui import format as write

if TYPE_CHECKING:
    from tui.screens.duplicate import Duplicated
    from tui.screens.main import MainScreen

REREAD_S = 3.0
"""After that long at the latest the snapshots show a file as it is now"""
NOTICE_S = 4.0
JUDGED_NOTICE_S = 8.0


@dataclass(frozen=True, slots=True)
class Edited:
    path: Path
    problem_before: ProfileProblem | None
    at: float
    """Epoch seconds"""
    judged_by: float
    """Monotonic seconds"""


class ProfileDesk:
    def __init__(self, screen: "MainScreen", api: EngineApi) -> None:
        self._screen = screen
        self._api = api
        self._edited: Edited | None = None
        """Whether it is valid now has not been told yet"""
        self._awaited: str | None = None
        """A copy that is to be selected as soon as it is listed"""

    def edit(self, subject: Model | ProfileProblem) -> None:
        if isinstance(subject, ProfileProblem):
            self._open_editor(Path(subject.path), subject.line)
        else:
            self._screen.run_worker(partial(self._read, subject.name), thread=True, exclusive=True, group="edit")

    def _read(self, name: str) -> None:
        app = self._screen.app
        try:
            source = self._api.profile_source(name)
        except EngineError as error:
            app.call_from_thread(self._complain, str(error))
        else:
            app.call_from_thread(self._screen.call_later, self._edit_source, name, source)

    def _edit_source(self, name: str, source: ProfileSource) -> None:
        if not self._screen.is_current:
            return  # something else was begun meanwhile
        if source.shipped:
            why = f"{name} is shipped with tritontui, and is not edited in place. Make a copy of your own?"
            self.duplicate(name, why, then_edit=True)
        else:
            self._open_editor(source.path)

    def duplicate(self, name: str, why: str = "", *, then_edit: bool = False) -> None:
        from tui.screens.duplicate import Duplicate

        asked = Duplicate(self._api, name, self.taken, why)
        self._screen.app.push_screen(asked, partial(self._copied, then_edit))

    @property
    def taken(self) -> set[str]:
        """Names that no copy can have."""
        snapshot = self._screen.snapshot
        names = {model.name for model in snapshot.models} if snapshot else set()
        return names | {Path(problem.path).stem for problem in snapshot.problems} if snapshot else names

    def _copied(self, then_edit: bool, copy: "Duplicated | None") -> None:  # noqa: FBT001
        if copy:
            self.made(copy)
        if copy and then_edit:
            self._screen.app.call_later(self._open_editor, copy.path)

    def made(self, copy: "Duplicated") -> None:
        """It is selected as soon as it is listed."""
        self._awaited = copy.name
        self._screen.notify(f"It is in {copy.path}.", title=f"{copy.name} is made", timeout=NOTICE_S, markup=False)

    def _open_editor(self, path: Path, line: int | None = None) -> None:
        from tui.editor import edit

        before = self._problem(path)
        try:
            changed = edit(self._screen.app, path, line)
        except EngineError as error:
            self._complain(str(error))
            return
        if changed:
            self._edited = Edited(path, before, write.now(), time.monotonic() + REREAD_S)
            self._screen.profile_changed()

    def take(self, snapshot: Snapshot) -> None:
        """With every snapshot, and each second."""
        if self._awaited and snapshot.model(self._awaited):
            name, self._awaited = self._awaited, None
            self._screen.select(name)
        if self._edited:
            self._judge(self._edited, snapshot)

    def cursor_moved(self) -> None:
        """Who goes elsewhere is not called back."""
        self._awaited = None

    def _judge(self, edited: Edited, snapshot: Snapshot) -> None:
        problem = self._problem(edited.path)
        seen = snapshot.at >= edited.at and problem != edited.problem_before
        if not seen and time.monotonic() < edited.judged_by:
            return
        self._edited = None
        if problem:
            where = f"Line {problem.line}: " if problem.line else ""
            self._screen.notify(
                where + problem.message,
                title=f"{edited.path.name} is not valid",
                severity="error",
                timeout=JUDGED_NOTICE_S,
                markup=False,
            )
        else:
            self._screen.notify(f"{edited.path.name} is valid.", timeout=JUDGED_NOTICE_S, markup=False)

    def _problem(self, path: Path) -> ProfileProblem | None:
        snapshot = self._screen.snapshot
        return next((known for known in snapshot.problems if known.path == str(path)), None) if snapshot else None

    def _complain(self, sentence: str) -> None:
        self._screen.notify(sentence, severity="error", timeout=JUDGED_NOTICE_S, markup=False)
