"""The main screen: the list says what there is, the tabs say all about the model under the cursor."""

from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal
from textual.types import IgnoreReturnCallbackType
from textual.widgets import Static

from engine.deployment import State
from engine.snapshot import Model, Snapshot
from tui import operations
from tui.actions import ACTIONS, ConsoleAction
from tui.notice_words import line_above
from tui.panes import OF_PROBLEM, PANES
from tui.screens.behind import Behind
from tui.startup_words import state_detail
from tui.widgets.glyphs import terminal_is_plain
from tui.widgets.gpu_lines import rows_wanted
from tui.widgets.gpu_panel import GpuPanel
from tui.widgets.key_bar import KeyBar
from tui.widgets.model_area import ModelArea
from tui.widgets.model_list import ModelList
from tui.widgets.pane import Pane
from tui.widgets.tab_bar import TabBar
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.api import EngineApi
    from engine.request import Request
    from tui.screens.diagnosis_desk import DiagnosisDesk
    from tui.screens.notice_desk import NoticeDesk
    from tui.screens.operation_desk import OperationDesk
    from tui.screens.profile_desk import ProfileDesk
    from tui.screens.question import Question

CLOCKS_S = 1.25
"""Snapshots come every second, and move what counts seconds; it moves without them when they stay away for so long"""
NOTICE_S = 3.0
SETTLING_S = 0.3
MOVES = ("next_area", "previous_area", "leave")
HOST_ROWS = 4
STACKED_ROWS = 3
LEAST_STACKED = 19
"""Lines of a terminal in which stacked areas have the least that is of use"""


class MainScreen(Behind[None]):
    BINDINGS = [action.binding() for action in ACTIONS if action.id != "palette"]
    HORIZONTAL_BREAKPOINTS = [(0, "-cramped"), (60, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-short"), (24, "-middle"), (30, "-tall")]

    def __init__(self) -> None:
        super().__init__()
        self._api: EngineApi | None = None
        self._desk: ProfileDesk | None = None
        self._operations: OperationDesk | None = None
        self._diagnoses: DiagnosisDesk | None = None
        self._notices: NoticeDesk | None = None
        self.snapshot: Snapshot | None = None
        self._pane_key = "logs"
        self._panes: dict[str, Pane] = {}
        """Those that were looked at"""
        self._stands = False
        """Its widgets are there, with their styles"""
        self._settling = False
        """A pane was just opened: keys typed ahead for it may still come to the list, where they mean something else"""
        self._leaving: Question | None = None
        """The question whether to leave"""
        self._heights: dict[str, int] = {}
        self._top = TopLine(id="top")
        self._models = ModelArea(id="models")
        self._models.border_title = "Models"
        self._list = self._models.list
        self._gpus = GpuPanel(id="gpus")
        self._tabs = TabBar(tuple((key, pane.title) for key, pane in PANES.items()), id="tabs")
        self._notice = Static(id="notice", markup=False)
        self._problem = Static(id="problem", markup=False)
        self._detail = Container(self._problem, id="detail")

    def compose(self) -> ComposeResult:
        yield self._top
        yield Horizontal(self._models, self._gpus, id="overview")
        yield self._tabs
        yield self._notice
        yield self._detail
        yield KeyBar(self._greyed, id="keys")

    def on_mount(self) -> None:
        self._clocks = self.set_interval(CLOCKS_S, self._tick)
        self.set_focus(self._list)
        self._stands = True
        if self.snapshot:
            self.take(self.snapshot)

    async def connect(self, api: "EngineApi", template: "Request", *, bell: bool = True) -> None:
        """The engine is there: from now on there is something to show. `template`: who asks for changes, and how.

        `bell`: a notice that begins rings the terminal's.
        """
        from tui.screens.diagnosis_desk import DiagnosisDesk
        from tui.screens.notice_desk import NoticeDesk
        from tui.screens.operation_desk import OperationDesk
        from tui.screens.profile_desk import ProfileDesk
        from tui.widgets.sparks import ListSparks

        self._api = api
        self._list.sparks = ListSparks(api.metrics, plain=terminal_is_plain())
        self._operations = OperationDesk(self, api, template)
        self._desk = ProfileDesk(self, api)
        self._diagnoses = DiagnosisDesk(self, api, self._desk, self._operations)
        self._notices = NoticeDesk(self, bell=bell)
        await self._show_pane(self._pane_key)

    def take(self, snapshot: Snapshot) -> None:
        """A new snapshot has come, perhaps before there are widgets to show it."""
        if not self._stands:
            self.snapshot = snapshot
            return
        self._clocks.reset()
        before = self._offered()
        self.snapshot = snapshot
        self._top.show(snapshot)
        self._models.show(snapshot)
        self._gpus.show(snapshot.gpus, self.selected)
        self._fit_overview(snapshot)
        if self._operations:
            self._operations.take(snapshot)
        if self._desk:
            self._desk.take(snapshot)
        if self._notices:
            self._notices.take(snapshot)
        self._refresh_pane()
        if before != self._offered():
            self.refresh_bindings()

    def _offered(self) -> object:
        """What the keys that can be used depend on."""
        return self.selected, [action.why_not(self.selected, self.snapshot) for action in ACTIONS]

    @property
    def selected(self) -> Model | None:
        return self._list.selected

    def select(self, name: str) -> None:
        """Puts the cursor on a model, if there is one of that name."""
        self._models.select(name)

    def _tick(self) -> None:
        self._models.tick()
        self._top.tick()
        if self._desk and self.snapshot:
            self._desk.take(self.snapshot)

    def _fit_overview(self, snapshot: Snapshot) -> None:
        """As high as what it lists, within bounds; what is left is the pane's. Laid out anew only when that changes."""
        listed = max(1, len(snapshot.models) + len(snapshot.problems))
        heights: dict[str, int] = {}
        if self.has_class("-low") or self.has_class("-cramped"):
            pass  # the styles decide
        elif self.has_class("-wide"):
            most = max(HOST_ROWS, self.size.height * 2 // 5 - 2)
            heights["overview"] = min(max(listed, rows_wanted(snapshot.gpus, most), HOST_ROWS), most) + 2
        else:
            spare = max(0, self.size.height - LEAST_STACKED)
            most = 1 + spare * 3 // 5
            heights["gpus"] = min(max(rows_wanted(snapshot.gpus, most), HOST_ROWS - 1), most) + 2
            heights["models"] = min(max(listed, STACKED_ROWS), STACKED_ROWS + spare // 5) + 2
        if heights != self._heights:
            self._heights = heights
            for name in ("overview", "models", "gpus"):
                area = self.query_one(f"#{name}")
                if name in heights:
                    area.styles.height = heights[name]
                else:
                    area.styles.clear_rule("height")
                    area.refresh(layout=True)

    # -- panes --------------------------------------------------------------------------------------------------------

    @property
    def _shown_key(self) -> str:
        return OF_PROBLEM if self._list.selected_problem else self._pane_key

    @property
    def _pane(self) -> Pane | None:
        return self._panes.get(self._shown_key)

    async def _show_pane(self, key: str) -> None:
        self._pane_key = key
        await self._open_pane()

    async def _open_pane(self) -> None:
        """Panes are made when they are first looked at."""
        key = self._shown_key
        if not self._api:
            return
        if key not in self._panes:
            self._panes[key] = PANES[key].load()(self._api, id=f"pane-{key}")
            await self._detail.mount(self._panes[key])
        self._refresh_pane()
        self.refresh_bindings()

    def _refresh_pane(self) -> None:
        model = self.selected
        problem = self._list.selected_problem
        subject = model.name if model else problem.path.rsplit("/", 1)[-1] if problem else ""
        detail = state_detail(model) if model and model.state is State.STARTING else ""
        self._tabs.show(self._shown_key, subject, detail)
        self._problem.display = problem is not None
        _write(self._problem, f"▲ {problem}" if problem else "")
        for key, pane in self._panes.items():
            pane.display = key == self._shown_key
        if self.snapshot:
            notice = "" if problem else line_above(model, self.snapshot)
            _write(self._notice, notice)
            self._notice.display = bool(notice)
            if not self._pane:
                self.call_later(self._open_pane)
            elif problem:
                self._pane.show_problem(problem, self.snapshot)
            else:
                self._pane.show_model(model, self.snapshot)

    def profile_changed(self) -> None:
        """The file of the selected model's profile has been edited."""
        for pane in self._panes.values():
            pane.look_again()

    @on(ModelList.Selected)
    def _selected(self) -> None:
        if self._desk:
            self._desk.cursor_moved()
        if self.snapshot:
            self._gpus.show(self.snapshot.gpus, self.selected)
        self._refresh_pane()
        self.refresh_bindings()

    @on(events.DescendantFocus)
    def _keys_moved(self) -> None:
        """The styles keep messages away from where the keys are."""
        self.set_class(self._detail.has_focus_within, "-in-pane")

    def on_resize(self) -> None:
        if self.snapshot:
            self.call_after_refresh(self._fit_overview, self.snapshot)

    @on(ModelList.Chosen)
    async def _chosen(self) -> None:
        await self.run_action("start")

    @on(TabBar.Picked)
    async def _picked(self, event: TabBar.Picked) -> None:
        await self._show_pane(event.key)

    # -- actions ------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What cannot be done now is not offered."""
        if not self.is_mounted:
            return False
        if action == "leave":
            return self.has_class("-zoomed") or not self._list.has_focus
        known = next((known for known in ACTIONS if known.id == action), None)
        if self._settling and known and known.id not in MOVES:
            return False
        if known and self._refusal(known):
            return None
        return True

    def _refusal(self, action: ConsoleAction) -> str:
        """Why it cannot be done with what is selected; empty when it can."""
        if action.on_problem and self._list.selected_problem:
            return ""
        return action.why_not(self.selected, self.snapshot)

    def _greyed(self, action_id: str) -> bool:
        """It could be done, were the console not read-only: its key is shown, and that it has no effect."""
        action = next((known for known in ACTIONS if known.id == action_id), None)
        return bool(action and action.forbidden(self.snapshot) and not action.refusal(self.selected, self.snapshot))

    def on_key(self, event: events.Key) -> None:
        """A key for something that cannot be done now is answered with the reason."""
        if event.key == "escape":
            self.app.clear_notifications()
        if any(event.key == action.keys for action in ACTIONS if action.id.startswith("pane.")):
            self._settling = True
        if self._settling:
            return
        action = next((action for action in ACTIONS if action.keys == event.key and self._refusal(action)), None)
        active = self.active_bindings.get(event.key) if action else None
        if action and active and active.node is self and not active.enabled:
            self.notify(self._refusal(action), severity="warning", timeout=NOTICE_S, markup=False)

    def runner(self, action: ConsoleAction, name: str | None = None) -> IgnoreReturnCallbackType:
        """For the command palette."""

        async def run() -> None:
            if name:
                self.select(name)
            await self.run_action(action.call)

        return run

    def goto(self, name: str) -> IgnoreReturnCallbackType:
        return lambda: self.select(name)

    def action_start(self) -> None:
        self._ask("start")

    def action_swap(self) -> None:
        self._ask("swap")

    def action_stop(self) -> None:
        self._ask("stop")

    def action_restart(self) -> None:
        self._ask("restart")

    def action_remove(self) -> None:
        self._ask("remove")

    def action_adopt(self) -> None:
        self._ask("adopt")

    def action_edit(self) -> None:
        subject = self.selected or self._list.selected_problem
        if subject and self._desk:
            self._desk.edit(subject)

    def action_explain(self) -> None:
        if self.selected and self._diagnoses:
            self._diagnoses.explain(self.selected)

    def action_duplicate(self) -> None:
        if self.selected and self._desk:
            self._desk.duplicate(self.selected.name)

    def _ask(self, action_id: str) -> None:
        action = next(action for action in ACTIONS if action.id == action_id)
        model, snapshot = self.selected, self.snapshot
        refusal = action.why_not(model, snapshot)
        if refusal or not model or not snapshot or not action.change or not self._operations:
            self.notify(refusal or "The console is still being made ready.", severity="warning", markup=False)
            return
        self._operations.ask(action.change, model, snapshot)

    def operation_begun(self) -> None:
        """From here: its steps are shown, unless the operator is at something else."""
        if self.focused is self._list:
            self.call_later(self._show_pane, "launch")

    def action_cancel_operation(self) -> None:
        status = operations.to_cancel(self.snapshot, self.selected) if self.snapshot else None
        if status and self._operations:
            self._operations.cancel(status)

    def action_recover(self) -> None:
        status = operations.to_settle(self.snapshot, self.selected) if self.snapshot else None
        if status and self._operations:
            self._operations.recover(status)

    def action_history(self) -> None:
        if self._api:
            from tui.screens.history import History

            self.app.push_screen(History(self._api, self.selected.name if self.selected else ""))

    def action_gpus(self) -> None:
        if self._api and self.snapshot:
            from tui.screens.gpus import Gpus

            self.app.push_screen(Gpus(self._api, self.snapshot, self.selected.name if self.selected else ""))

    def action_doctor(self) -> None:
        if self._api:
            from tui.screens.doctor import Doctor

            self.app.push_screen(Doctor(self._api))

    async def action_pane(self, key: str) -> None:
        self._settling = True
        await self._show_pane(key)
        if self.has_class("-cramped") or self.has_class("-low"):
            self.add_class("-zoomed")  # there is room for one area only
        self._focus_pane()
        self.set_timer(SETTLING_S, self._settled)

    def _settled(self) -> None:
        self._settling = False
        self.refresh_bindings()

    def _focus_pane(self) -> None:
        if self._pane:
            self._pane.take_focus()

    def action_zoom(self) -> None:
        self.toggle_class("-zoomed")
        if self.has_class("-zoomed"):
            self._focus_pane()
        else:
            self.set_focus(self._list)

    def action_next_area(self) -> None:
        self._go_round(1)

    def action_previous_area(self) -> None:
        self._go_round(-1)

    def _go_round(self, step: int) -> None:
        """The list and what takes keys in the pane, in turn; of a zoomed pane only what it holds."""
        in_pane = self._pane.stops if self._pane else []
        all_stops = (self._list, *in_pane, self._gpus)
        stops = [stop for stop in all_stops if stop in self.focus_chain]
        if stops:
            at = stops.index(self.focused) if self.focused in stops else 0 if self._models.has_focus_within else -1
            self.set_focus(stops[(at + step) % len(stops)])

    def action_leave(self) -> None:
        self._settled()
        self.remove_class("-zoomed")
        self.set_focus(self._list)

    def action_help(self) -> None:
        from tui.screens.help import Help

        self.app.push_screen(Help(self.focused or self, self._pane_key))

    def action_suspend(self) -> None:
        self.app.action_suspend_process()

    def action_quit(self) -> None:
        ending = " ".join(filter(None, (pane.ends_with_console for pane in self._panes.values())))
        if not ending or self.app.screen is self._leaving:
            self.app.exit()
            return
        from tui.screens.question import Question

        question = self._leaving = Question("leave the console?", ending, yes="Leave", no="Stay")
        self.app.push_screen(question, lambda leave: self.app.exit() if leave else None)


def _write(widget: Static, text: str) -> None:
    if widget.content != text:
        widget.update(text)
