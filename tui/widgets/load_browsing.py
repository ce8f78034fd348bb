"""What was measured before: the list of load tests, one of them opened, two compared, one saved to a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work

from engine.api import EngineApi
from engine.errors import EngineError
from engine.load_result import LoadResult
from tui.widgets.load_comparison import LoadComparison
from tui.widgets.load_earlier import EarlierLoads
from tui.widgets.load_report import LoadReport
from tui.widgets.load_session import LoadSession, Mode
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from engine.snapshot import Model


class LoadBrowsing(Pane):
    """The part of the pane `Load` that begins nothing."""

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._model: Model | None = None
        self._session = LoadSession()

    def _enter(self, mode: Mode) -> None:
        """Shows it, and gives it the keys if the pane has them."""
        raise NotImplementedError

    def _show(self) -> None:
        """What belongs to the mode."""
        raise NotImplementedError

    def _show_earlier(self) -> None:
        session, listed = self._session, self.query_one(EarlierLoads)
        name = self._model.name if self._model else "it"
        listed.show(session.earlier or ())
        if session.trouble:
            listed.say(f"▲ {session.trouble}", failed=True)
        elif session.earlier is None:
            listed.say("Reading …")
        elif not session.earlier:
            begin = ": n begins one" if self.check_action("new", ()) else ""
            listed.say(f"No load test of {name} is kept yet{begin}.")

    @on(LoadReport.Left)
    def _leave_report(self) -> None:
        back, self._session.shown = self._session.shown_from, None
        self._enter(back)

    @on(LoadComparison.Left)
    def _leave_comparison(self) -> None:
        self._enter(Mode.EARLIER)

    @on(EarlierLoads.Opened)
    def _opened(self, event: EarlierLoads.Opened) -> None:
        self._open(event.result, Mode.EARLIER)

    def _open(self, result: LoadResult, back: Mode) -> None:
        self._session.shown, self._session.shown_from = result, back
        self._enter(Mode.REPORT)

    @on(EarlierLoads.Compared)
    def _compare(self, event: EarlierLoads.Compared) -> None:
        self._session.compared = (event.first, event.second)
        self._enter(Mode.COMPARISON)

    @on(LoadReport.Saved)
    def _save(self, event: LoadReport.Saved) -> None:
        from tui.screens.load_export import LoadExport

        self.app.push_screen(LoadExport(self.api, event.result), self._saved)

    def _saved(self, saved: tuple[Path, int] | None) -> None:
        if saved:
            path, lacking = saved
            also = f" {lacking:,} of its requests are not kept any more, and not in it." if lacking else ""
            self.notify(f"The load test is saved to {path}.{also}", markup=False)

    def _read_earlier(self) -> None:
        """One reading at a time: a store that does not answer must not take ever more threads."""
        if self._model and not self._session.reading:
            self._session.reading = True
            self._read(self._model.name, self._session)

    @work(thread=True, group="earlier")
    def _read(self, name: str, session: LoadSession) -> None:
        try:
            found: Sequence[LoadResult] | EngineError = self.api.loads(name)
        except EngineError as error:
            found = error
        self.app.call_from_thread(self._take_earlier, session, found)

    def _take_earlier(self, session: LoadSession, found: Sequence[LoadResult] | EngineError) -> None:
        session.reading = False
        session.trouble = str(found) if isinstance(found, EngineError) else ""
        session.earlier = session.earlier if isinstance(found, EngineError) else tuple(found)
        if session is self._session and self.is_mounted:
            self._show()
