"""The pane `Load`, what a deployment holds: a form, the test under way, what it measured, and earlier ones."""

from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Show
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static

from engine.api import Cancel, EngineApi
from engine.errors import EngineError
from engine.load_plan import LoadPlan
from engine.load_result import LoadEvent, LoadResult
from engine.snapshot import Model, Snapshot
from tui.widgets.load_choice import Choice
from tui.widgets.load_comparison import LoadComparison
from tui.widgets.load_earlier import EarlierLoads
from tui.widgets.load_form import LoadForm
from tui.widgets.load_live import LoadLive
from tui.widgets.load_offer import to_whom
from tui.widgets.load_offering import LoadOffering
from tui.widgets.load_report import LoadReport
from tui.widgets.load_run import LoadRun, what_ends_it
from tui.widgets.load_session import LoadSession, Mode
from tui.widgets.load_words import OUTCOMES, answered_now, refusal, start_text
from tui.widgets.tab_bar import TabBar

CLOCK_S = 1.0
LOOK_S = 10.0
"""So often the earlier tests are looked at anew while the last one is told: others do load tests too"""
UNDER_WAY = "◐"
NOTICE_S = 8.0


class StartPage(Static, can_focus=True):
    """Has the keys while there is nothing else: they are the pane's already."""


class LoadPane(LoadOffering):
    PARTS = (LoadForm, Choice, LoadLive, LoadReport, EarlierLoads, LoadComparison)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new test", id="load.new", tooltip="Fill in the form of a load test"),
        Binding("X", "stop_load", "stop test", id="load.stop", tooltip="Stop the load test; what was measured is kept"),
        Binding("ctrl+r", "earlier", "earlier tests", id="load.earlier", tooltip="Load tests that were done before"),
    ]
    DEFAULT_CSS = """
    LoadPane {
        & > * { display: none; }
        & > StartPage { height: 1fr; padding: 0 1; }
        &.-start > StartPage { display: block; }
        &.-form > LoadForm { display: block; }
        &.-live > LoadLive { display: block; }
        &.-report > LoadReport { display: block; }
        &.-earlier > EarlierLoads { display: block; }
        &.-comparison > LoadComparison { display: block; }
    }
    """

    class Arrived(Message):
        """Something came from the engine's thread for the test under way."""

        def __init__(self, run: LoadRun) -> None:
            super().__init__()
            self.run = run

    class Obstructed(Message):
        """Something has become of the deployment under test, as the engine's thread has seen."""

        def __init__(self, run: LoadRun, why: str) -> None:
            super().__init__()
            self.run = run
            self.why = why

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._snapshot: Snapshot | None = None
        self._run: LoadRun | None = None
        """The one under way, of whichever deployment"""
        self._watch: Cancel | None = None
        """Ends the looking after its deployment"""
        self._sessions: dict[str, LoadSession] = {}
        self._began = False
        """It has been told what to show"""

    def compose(self) -> ComposeResult:
        yield StartPage(id="load-start", markup=False)
        yield LoadForm()
        yield LoadLive()
        yield LoadReport()
        yield EarlierLoads()
        yield LoadComparison()

    def on_mount(self) -> None:
        self.add_class(f"-{Mode.START.value}")
        self.set_interval(CLOCK_S, self._tick)
        self.set_interval(LOOK_S, self._look_at_earlier)

    def on_unmount(self) -> None:
        if self._run:
            self._run.stop()
        if self._watch:
            self._watch()

    @property
    def ends_with_console(self) -> str:
        run = self._run
        return f"The load test of {run.deployment} ends with the console; what it has measured is kept." if run else ""

    # What is shown

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self.display or not self.is_mounted:
            return
        before = self._model
        another = not self._began or (model.name if model else "") != (before.name if before else "")
        self._began = True
        could = refusal(before, self._snapshot)
        self._model, self._snapshot = model, snapshot
        if another:
            self._keep_typed()
            self._session = self._sessions.setdefault(model.name, LoadSession()) if model else LoadSession()
            self._read_earlier()
            self._enter(self._session.mode)
        elif could != refusal(model, snapshot):
            self._show()
            self._look_for_offer()
            self.refresh_bindings()

    @on(Show)
    def _look_at_earlier(self) -> None:
        if self.display and self._session.mode is Mode.START:
            self._read_earlier()

    def _tick(self) -> None:
        if self.display and self._run and self._session.mode in (Mode.LIVE, Mode.START):
            self._show()

    def _show(self) -> None:
        """What belongs to the mode."""
        session = self._session
        match session.mode:
            case Mode.START:
                self._show_start()
            case Mode.LIVE if self._run:
                self.query_one(LoadLive).show(self._run)
            case Mode.EARLIER:
                self._show_earlier()

    def _show_start(self) -> None:
        other = self._run if self._run and (not self._model or self._run.deployment != self._model.name) else None
        text = start_text(
            self._model.name if self._model else "",
            refusal(self._model, self._snapshot),
            self._session.earlier,
            self._session.trouble,
            self._why_not() if other else "",
        )
        page = self.query_one(StartPage)
        if page.content != text:
            page.update(text)

    def _enter(self, mode: Mode) -> None:
        """Shows it, and gives it the keys if the pane has them."""
        in_here = self.screen.focused is not None and self in self.screen.focused.ancestors
        session = self._session
        session.mode = mode
        for one in Mode:
            self.set_class(one is mode, f"-{one.value}")
        if mode is Mode.REPORT and session.shown:
            self.query_one(LoadReport).show(session.shown)
        elif mode is Mode.COMPARISON and session.compared:
            self.query_one(LoadComparison).show(*session.compared)
        elif mode is Mode.FORM:
            self._fill_form()
        self._show()
        if in_here:
            self.screen.set_focus(self._first_stop(mode))
        self.refresh_bindings()

    def _first_stop(self, mode: Mode) -> Widget:
        parts: dict[Mode, type[Widget]] = {
            Mode.START: StartPage,
            Mode.LIVE: LoadLive,
            Mode.REPORT: LoadReport,
            Mode.COMPARISON: LoadComparison,
        }
        if mode in parts:
            return self.query_one(parts[mode])
        return self.query_one("#load-amounts" if mode is Mode.FORM else "EarlierLoads > OptionList")

    def take_focus(self) -> None:
        self.screen.set_focus(self._first_stop(self._session.mode))

    # What keys do

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        mode = self._session.mode
        match action:
            case "stop_load":
                return self._run is not None and mode is Mode.LIVE
            case "new":
                return mode not in (Mode.FORM, Mode.LIVE) and not self._why_not()
            case "earlier":
                return mode in (Mode.START, Mode.REPORT, Mode.LIVE)
        return True

    def action_new(self) -> None:
        self._enter(Mode.FORM)

    def action_stop_load(self) -> None:
        if self._run:
            self._run.stop()
            self._show()

    def action_earlier(self) -> None:
        self._read_earlier()
        self._enter(Mode.EARLIER)

    def _why_not(self) -> str:
        if self._run:
            return (
                f"A load test of {self._run.deployment} is under way, and two at once would measure each other:"
                " wait for its end, or stop it."
            )
        return refusal(self._model, self._snapshot)

    def _refuse(self, sentence: str) -> None:
        self.notify(sentence, severity="warning", timeout=NOTICE_S, markup=False)

    @on(LoadForm.Left)
    @on(EarlierLoads.Left)
    def _go_home(self) -> None:
        self._keep_typed()
        running = self._run and self._model and self._run.deployment == self._model.name
        self._enter(Mode.LIVE if running else Mode.REPORT if self._session.shown else Mode.START)

    # The form

    def _keep_typed(self) -> None:
        if self._session.mode is Mode.FORM:
            self._session.values = self.query_one(LoadForm).values

    @on(LoadForm.Ready)
    def _ask(self, event: LoadForm.Ready) -> None:
        model = self._model
        if (why_not := self._why_not()) or not model:
            self._refuse(why_not)
            return
        from tui.screens.load_confirm import LoadConfirm

        self._keep_typed()
        whom = to_whom(event.plan, self._session.offer.offer)
        question = LoadConfirm(model.name, event.plan, whom, answered_now(self.api.metrics(model.name)))
        self.app.push_screen(question, partial(self._begin, model.name, event.plan))

    # The test

    def _begin(self, name: str, plan: LoadPlan, confirmed: bool | None) -> None:  # noqa: FBT001 (what a question answers)
        if not confirmed or self._run:
            return
        run = self._run = LoadRun(name, plan)
        self._watch = self.api.subscribe(partial(self._look_after, run))
        self._mark_tab()
        self.refresh_bindings()
        if self._model and self._model.name == name:
            self._enter(Mode.LIVE)
        self._start(run)

    @work(thread=True, group="load")
    def _start(self, run: LoadRun) -> None:
        try:
            run.cancel = self.api.load(run.deployment, run.plan, partial(self._receive, run))
        except EngineError as error:
            self.app.call_from_thread(self._not_begun, run, str(error))
        else:
            if run.stopping:  # before there was a way to
                run.cancel()

    def _look_after(self, run: LoadRun, snapshot: Snapshot) -> None:
        """On the engine's thread."""
        if self._run is run and not run.stopping and (why := what_ends_it(snapshot, run.deployment)):
            self._post(self.Obstructed(run, why))

    @on(Obstructed)
    def _obstructed(self, event: Obstructed) -> None:
        event.stop()
        run = event.run
        if self._run is run and not run.stopping:
            run.stop(event.why)
            told = f"{event.why} What was measured until then is kept."
            self.notify(told, title=f"load test of {run.deployment}: stopped", severity="warning", markup=False)
            self._show()

    def _over(self) -> None:
        """None is under way any more."""
        self._run = None
        if self._watch:
            self._watch()
            self._watch = None
        self._mark_tab()
        self.refresh_bindings()

    def _not_begun(self, run: LoadRun, why: str) -> None:
        self._over()
        self.notify(why, severity="error", timeout=NOTICE_S, markup=False)
        session = self._sessions[run.deployment]
        if session.mode is Mode.LIVE:
            session.mode = Mode.FORM
            if session is self._session:
                self._enter(Mode.FORM)

    def _receive(self, run: LoadRun, event: LoadEvent) -> None:
        """On the engine's thread."""
        if run.receive(event):
            self._post(self.Arrived(run))

    def _post(self, message: Message) -> None:
        try:
            self.post_message(message)
        except RuntimeError:  # the screen closed just now: nobody is left to be told
            return

    @on(Arrived)
    def _arrived(self, event: Arrived) -> None:
        event.stop()
        run = event.run
        run.take()
        if run.result:
            self._ended(run, run.result)
        elif self.display and self._session.mode is Mode.LIVE:
            self._show()

    def _ended(self, run: LoadRun, result: LoadResult) -> None:
        self._over()
        if run.why_stopped not in result.message:
            result = replace(result, message=f"{run.why_stopped} {result.message}".strip())
        session = self._sessions.setdefault(run.deployment, LoadSession())
        session.earlier = None
        watched = session.mode is Mode.LIVE
        if session.mode is not Mode.REPORT:  # an earlier one that is being read stays
            session.shown, session.shown_from = result, Mode.START
        if watched:
            session.mode = Mode.REPORT
        if session is self._session:
            self._read_earlier()
            if watched:
                self._enter(Mode.REPORT)
        self._show()
        if not (watched and session is self._session and self.display):
            self.notify(
                result.message or "Its results are in Load.",
                title=f"load test of {run.deployment}: {OUTCOMES[result.outcome].word}",
                markup=False,
            )

    def _mark_tab(self) -> None:
        for tabs in self.screen.query(TabBar):
            tabs.mark("load", UNDER_WAY if self._run else "")
