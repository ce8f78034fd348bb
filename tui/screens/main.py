"""The main screen: the list says what there is, the tabs say all about the model under the cursor."""

from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.screen import Screen
from textual.types import IgnoreReturnCallbackType
from textual.widgets import Footer, Static

from engine.api import EngineApi
from engine.deployment import State
from engine.snapshot import Model, Outcome, Snapshot
from tui import format as write
from tui.actions import ACTIONS, ConsoleAction
from tui.panes import PANES
from tui.widgets.gpu_panel import GpuPanel
from tui.widgets.model_list import ModelList
from tui.widgets.pane import Pane
from tui.widgets.state import LOOKS
from tui.widgets.tab_bar import TabBar
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from tui.screens.confirm import Confirmed

NOTICE_S = 4.0
FAILURE_NOTICE_S = 12.0
HOST_ROWS = 5


class MainScreen(Screen[None]):
    BINDINGS = [action.binding() for action in ACTIONS if action.id != "palette"]
    HORIZONTAL_BREAKPOINTS = [(0, "-cramped"), (60, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-short"), (24, "-middle"), (30, "-tall")]

    def __init__(self) -> None:
        super().__init__()
        self._api: EngineApi | None = None
        self.snapshot: Snapshot | None = None
        self._pane_key = "logs"
        self._told: set[str] | None = None
        """Operations whose end has been told; None until the first snapshot, whose ends are old news"""

    def compose(self) -> ComposeResult:
        yield TopLine(id="top")
        with Horizontal(id="overview"):
            models = ModelList(id="models")
            models.border_title = "Models"
            yield models
            yield GpuPanel(id="gpus")
        yield TabBar(tuple((key, title) for key, (title, _) in PANES.items()), id="tabs")
        yield Static(id="notice", markup=False)
        with Container(id="detail"):
            yield Static(id="problem", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)
        self.query_one(ModelList).focus()

    async def connect(self, api: EngineApi) -> None:
        """The engine is there: from now on there is something to show."""
        self._api = api
        await self._show_pane(self._pane_key)

    def take(self, snapshot: Snapshot) -> None:
        """A new snapshot has come."""
        before = self.selected
        self.snapshot = snapshot
        self.query_one(TopLine).show(snapshot)
        self.query_one(ModelList).show(snapshot)
        self.query_one(GpuPanel).show(snapshot.gpus)
        self._fit_overview(snapshot)
        self._tell_ended(snapshot)
        self._refresh_pane()
        if before != self.selected:
            self.refresh_bindings()

    @property
    def selected(self) -> Model | None:
        return self.query_one(ModelList).selected

    def _tick(self) -> None:
        self.query_one(ModelList).tick()
        self.query_one(TopLine).tick()

    def _fit_overview(self, snapshot: Snapshot) -> None:
        """As high as what it lists, within bounds; what is left belongs to the pane. Stacked, the style decides."""
        overview = self.query_one("#overview")
        if not self.has_class("-wide") or self.has_class("-low"):
            overview.styles.clear_rule("height")
            return
        gpus = len(snapshot.gpus.gpus) if snapshot.gpus else 0
        rows = max(len(snapshot.models) + len(snapshot.problems), gpus, HOST_ROWS) + 2
        overview.styles.height = min(rows, max(HOST_ROWS + 2, self.size.height * 2 // 5))

    def _tell_ended(self, snapshot: Snapshot) -> None:
        if snapshot.loading:
            return
        ended = {status.id: status for status in snapshot.operations if status.outcome is not Outcome.RUNNING}
        if self._told is not None:
            for id_ in ended.keys() - self._told:
                status = ended[id_]
                title = f"{status.kind} {status.target}: {status.outcome.value}"
                if status.outcome in (Outcome.FAILED, Outcome.INTERRUPTED):
                    self.notify(status.message, title=title, severity="error", timeout=FAILURE_NOTICE_S, markup=False)
                else:
                    self.notify(status.message, title=title, timeout=NOTICE_S, markup=False)
        self._told = (self._told or set()) | ended.keys()

    # -- panes --------------------------------------------------------------------------------------------------------

    @property
    def _pane(self) -> Pane | None:
        found = self.query(f"#pane-{self._pane_key}")
        return found.first(Pane) if found else None

    async def _show_pane(self, key: str) -> None:
        """Panes are made when they are first looked at."""
        self._pane_key = key
        if not self._api:
            return
        detail = self.query_one("#detail", Container)
        if not self.query(f"#pane-{key}"):
            await detail.mount(PANES[key][1](self._api, f"pane-{key}"))
        for pane in detail.query_children(Pane):
            pane.display = pane.id == f"pane-{key}"
        self._refresh_pane()
        self.refresh_bindings()

    def _refresh_pane(self) -> None:
        model = self.selected
        problem = self.query_one(ModelList).selected_problem
        subject = model.name if model else "invalid profile" if problem else ""
        self.query_one(TabBar).show(self._pane_key, subject)
        self.set_class(problem is not None, "-problem")
        if problem:
            self.query_one("#problem", Static).update(f"▲ {problem}")
        pane = self._pane
        if pane and self.snapshot:
            self._show_notice(_notice(model, self.snapshot))
            pane.show_model(model, self.snapshot)

    def _show_notice(self, text: str) -> None:
        notice = self.query_one("#notice", Static)
        if notice.content != text:
            notice.update(text)
            notice.display = bool(text)

    @on(ModelList.Selected)
    def _selected(self) -> None:
        self._refresh_pane()
        self.refresh_bindings()

    @on(ModelList.Chosen)
    async def _chosen(self) -> None:
        await self.run_action("start")

    @on(TabBar.Picked)
    async def _picked(self, event: TabBar.Picked) -> None:
        await self._show_pane(event.key)

    # -- actions ------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done now is greyed."""
        known = next((known for known in ACTIONS if known.id == action), None)
        if known and known.refusal(self.selected):
            return None
        return True

    def runner(self, action: ConsoleAction, name: str | None = None) -> IgnoreReturnCallbackType:
        """For the command palette."""

        async def run() -> None:
            if name:
                self.query_one(ModelList).select(name)
            await self.run_action(action.call)

        return run

    def goto(self, name: str) -> IgnoreReturnCallbackType:
        return lambda: self.query_one(ModelList).select(name)

    def action_start(self) -> None:
        self._ask("start")

    def action_stop(self) -> None:
        self._ask("stop")

    def action_restart(self) -> None:
        self._ask("restart")

    def action_remove(self) -> None:
        self._ask("remove")

    def _ask(self, action_id: str) -> None:
        action = next(action for action in ACTIONS if action.id == action_id)
        model = self.selected
        refusal = action.refusal(model)
        if refusal or not model or not action.change or not self._api:
            self.notify(refusal or "The console is still being made ready.", severity="warning", markup=False)
            return
        from tui.screens.confirm import Confirm

        self.app.push_screen(Confirm(self._api, action.change, model), self._carry_out)

    def _carry_out(self, confirmed: "Confirmed | None") -> None:
        if confirmed and self._api:
            self._api.submit(confirmed.action, confirmed.name, runtime=confirmed.runtime)

    async def action_pane(self, key: str) -> None:
        await self._show_pane(key)
        if self.has_class("-cramped") or self.has_class("-low"):
            self.add_class("-zoomed")  # there is room for one area only
        self._focus_pane()

    def _focus_pane(self) -> None:
        if self._pane:
            self._pane.take_focus()

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")
        if self.has_class("-zoomed"):
            self._focus_pane()
        else:
            self.query_one(ModelList).focus()

    def action_next_area(self) -> None:
        if self.query_one(ModelList).has_focus:
            self._focus_pane()
        else:
            self.action_leave()

    def action_leave(self) -> None:
        self.remove_class("-zoomed")
        self.query_one(ModelList).focus()

    def action_help(self) -> None:
        from tui.screens.help import Help

        pane = self._pane
        areas = [("List of models", ModelList.BINDINGS)]
        if pane:
            areas += [(PANES[self._pane_key][0], type(pane).BINDINGS)]
            areas += [
                (PANES[self._pane_key][0], type(child).BINDINGS) for child in pane.query("*") if _has_own_keys(child)
            ]
        self.app.push_screen(Help(areas))

    def action_quit(self) -> None:
        self.app.exit()


def _notice(model: Model | None, snapshot: Snapshot) -> str:
    """One sentence on what is wrong with the selected model, or with the engine itself; empty when nothing is."""
    runtime = snapshot.runtime(model.runtime) if model else None
    if model and runtime and not runtime.reachable:
        shown = f" What is shown of {model.name} is from {write.clock(runtime.since)}." if model.deployment else ""
        return f"▲ {runtime.detail}{shown}"
    if model and model.detail and model.state in (State.FAILED, State.UNREACHABLE, State.STARTING):
        look = LOOKS[model.state]
        return f"{look.symbol} {model.name} is {look.word}: {model.detail}."
    return f"▲ {snapshot.trouble}" if snapshot.trouble else ""


def _has_own_keys(widget: object) -> bool:
    return type(widget).__module__.startswith("tui.") and bool(getattr(type(widget), "BINDINGS", None))
