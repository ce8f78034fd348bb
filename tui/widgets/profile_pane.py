"""The pane `Profile`: the file that the selected model's profile is read from."""

from pathlib import Path

from textual.app import ComposeResult
from textual.widgets import Static

from engine.api import ProfileSource
from engine.snapshot import Model, ProfileProblem, Snapshot
from tui.widgets.source_view import SourceView
from tui.widgets.watching_pane import Source, WatchingPane


class ProfilePane(WatchingPane):
    FOCUS = "SourceView"
    PARTS = (SourceView,)
    DEFAULT_CSS = """
    ProfilePane { layout: vertical; }
    ProfilePane > #profile-head { height: auto; max-height: 4; padding: 0 1; color: $foreground-muted; }
    """

    _problem: ProfileProblem | None = None
    _file: Path | None = None
    """That is shown"""

    def compose(self) -> ComposeResult:
        yield Static(id="profile-head", markup=False)
        yield SourceView(id="profile-source")

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self.display or not self.is_mounted:
            return
        self._problem = None
        if model is None:
            self._show_nothing("No model is selected.")
        elif not model.has_profile:
            self._show_nothing(f"{model.name} has no profile any more. It can be removed (d).")
        elif self.look_at(model.name):
            self._say("Reading …")

    def show_problem(self, problem: ProfileProblem, snapshot: Snapshot) -> None:
        """The file that is no valid profile, so that it can be mended."""
        if not self.display or not self.is_mounted:
            return
        if problem != self._problem:
            self._problem = problem
            if self.look_at(Path(problem.path).stem):
                self._say("Reading …")
            elif self._source:
                self.source_changed(self._source)

    def source_changed(self, source: Source) -> None:
        if isinstance(source, str):
            self._say(f"▲ {source}")
        elif self._problem and str(source.path) != self._problem.path:
            self._say(f"{self._problem.path} is not shown: {source.path} is read by the same name.")
        else:
            self._show_file(source)

    def _show_file(self, source: ProfileSource) -> None:
        view, line = self.query_one(SourceView), self._problem.line if self._problem else None
        said = [
            "" if self._problem else str(source.path),
            "It is shipped with tritontui: c makes a copy of your own." if source.shipped else "",
            "" if source.text.strip() else "The file is empty.",
        ]
        self._head("\n".join(filter(None, said)))
        view.show(source.text, line)
        if source.path != self._file:
            self._file = source.path
            self.call_after_refresh(view.go_to, line or 1)  # it has no height before

    def _show_nothing(self, why: str) -> None:
        self.look_at(None)
        self._say(why)

    def _say(self, sentence: str) -> None:
        """In place of a file."""
        self._file = None
        self.query_one(SourceView).show("")  # it keeps the keys
        self._head(sentence)

    def _head(self, text: str) -> None:
        head = self.query_one("#profile-head", Static)
        head.display = bool(text)
        if head.content != text:
            head.update(text)
