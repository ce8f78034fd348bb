"""Why a model failed: the cause, what proves it, and the change to its profile, which one key makes in a copy."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.screen import ModalScreen

from engine.api import EngineApi
from engine.deployment import State
from engine.diagnosis import Cause, Change, Diagnosis
from engine.errors import EngineError
from engine.snapshot import Model
from tui.profile_diff import diff_lines
from tui.screens.duplicate import Duplicate, Duplicated
from tui.widgets.diagnosis_text import DiagnosisText, Patch
from tui.widgets.page import Page

NOTICE_S = 4.0


@dataclass(frozen=True, slots=True)
class Explained:
    diagnosis: Diagnosis
    path: str
    """Of the profile's file; empty when it has none"""
    patches: tuple[Patch, ...]
    """For each cause"""


class ChangedCopy(Duplicate):
    """The question under which name a profile is copied with its changes."""

    def __init__(self, api: EngineApi, name: str, taken: Collection[str], changes: Sequence[Change]) -> None:
        told = ", ".join(_told(change) for change in changes)
        super().__init__(api, name, taken, f"A copy of its profile, with {told}; then it can be started.")
        self._changes = changes

    def make(self, new_name: str) -> Path:
        return self._api.write_changed(self._original, new_name, self._changes)


class Explain(ModalScreen[Duplicated | None]):
    """Ends with the changed copy that was made, or with None."""

    BINDINGS = [
        Binding("escape,q,w", "close", "close", id="diagnosis.close", tooltip="Close the explanation"),
        Binding("a", "apply", "apply", id="diagnosis.apply", tooltip="Make the change in a copy, and start that"),
        Binding("n", "next", "next cause", id="diagnosis.next", tooltip="The next of several possible causes"),
        Binding("r", "read", "read again", id="diagnosis.read", tooltip="Read the log again"),
    ]

    def __init__(self, api: EngineApi, model: Model, taken: Collection[str], read_only: str = "") -> None:
        """`taken`: names that no copy can have. `read_only`: why nothing may be changed from here."""
        super().__init__()
        self._api = api
        self._model = model
        self._taken = taken
        self._read_only = read_only
        self._explained: Explained | None = None
        self._shown = 0

    def compose(self) -> ComposeResult:
        with Vertical(id="diagnosis-box") as box:
            failed = self._model.state is State.FAILED
            box.border_title = f"Why {self._model.name} failed" if failed else f"What is wrong with {self._model.name}"
            with Page(id="diagnosis-body"):
                yield DiagnosisText(id="diagnosis-text")

    def on_mount(self) -> None:
        self.action_read()

    def action_read(self) -> None:
        self._explained, self._shown = None, 0
        self._text.say(f"Reading the log of {self._model.name} …")
        self._label()
        self._explain()

    @work(thread=True, exclusive=True)
    def _explain(self) -> None:
        try:
            found: Explained | EngineError = self._find()
        except EngineError as error:
            found = error
        self.app.call_from_thread(self._take, found)

    def _find(self) -> Explained:
        diagnosis = self._api.diagnose(self._model.name)
        why_not = ""
        if self._model.has_profile and any(cause.changes for cause in diagnosis.causes):
            try:
                source = self._api.profile_source(self._model.name)
            except EngineError as error:  # the cause is known all the same
                why_not = str(error)
            else:
                patches = tuple(self._patch(source.text, cause) for cause in diagnosis.causes)
                return Explained(diagnosis, str(source.path), patches)
        return Explained(diagnosis, "", (why_not,) * len(diagnosis.causes))

    def _patch(self, before: str, cause: Cause) -> Patch:
        if not cause.changes:
            return ""
        try:
            return diff_lines(before, self._api.with_changes(self._model.name, cause.changes), "", context=1)
        except EngineError as error:
            return str(error)

    def _take(self, found: Explained | EngineError) -> None:
        if not self.is_mounted:
            return
        if isinstance(found, EngineError):
            self._text.say(str(found), wrong=True)
        else:
            self._explained = found
            self._show()
        self._label()

    def _show(self) -> None:
        if self._explained:
            patches, path = self._explained.patches, self._explained.path
            patch = patches[self._shown] if patches else ""
            self._text.show(self._explained.diagnosis, self._shown, patch, path)
            self.query_one(Page).scroll_home(animate=False)

    @property
    def _text(self) -> DiagnosisText:
        return self.query_one(DiagnosisText)

    @property
    def _changes(self) -> tuple[Change, ...]:
        """What can be made in a copy."""
        if not self._explained or not self._explained.path or not self._explained.patches:
            return ()
        patch = self._explained.patches[self._shown]
        return self._explained.diagnosis.causes[self._shown].changes if patch and not isinstance(patch, str) else ()

    @property
    def _causes(self) -> int:
        return len(self._explained.diagnosis.causes) if self._explained else 0

    def _label(self) -> None:
        keys = ["a applies it to a copy"] if self._changes and not self._read_only else []
        keys += ["n next"] if self._causes > 1 else []
        self.query_one("#diagnosis-box").border_subtitle = " · ".join((*keys, "escape closes"))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return self._causes > 1 if action == "next" else True

    def action_next(self) -> None:
        self._shown = (self._shown + 1) % self._causes
        self._show()
        self._label()

    def action_apply(self) -> None:
        if not self._changes or self._read_only:
            why = "There is no change to make in its profile." if not self._changes else self._read_only
            if self._explained:
                self.notify(why, severity="warning", timeout=NOTICE_S, markup=False)
            return
        copy = ChangedCopy(self._api, self._model.name, self._taken, self._changes)
        self.app.push_screen(copy, self._applied)

    def _applied(self, copy: Duplicated | None) -> None:
        if copy:
            self.dismiss(copy)

    def action_close(self) -> None:
        self.dismiss(None)


def _told(change: Change) -> str:
    name = change.path.rpartition(".")[2]
    return f"{name} taken out" if change.value is None else f"{name} {change.value}"
