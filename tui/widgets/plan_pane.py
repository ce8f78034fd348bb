"""The pane `Plan`: what starting the selected model would do."""

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from engine.by_hand import command_line
from engine.errors import EngineError
from engine.plan import Plan
from engine.snapshot import Model, Snapshot
from tui.widgets import plan_text
from tui.widgets.page import Page
from tui.widgets.plan_text import PlanText
from tui.widgets.watching_pane import Source, WatchingPane


class PlanPane(WatchingPane):
    BINDINGS = [
        Binding("r", "plan_again", "plan again", id="plan.again", tooltip="Plan it again, with what is free now"),
        Binding(
            plan_text.UNFOLD_KEY,
            "unfold",
            "whole files",
            id="plan.unfold",
            tooltip="Show the whole of long files, or less",
        ),
        Binding("y", "copy", "copy line", id="plan.copy", tooltip="Copy the command line that does the same"),
    ]
    PARTS = (Page,)

    _plan: Plan | None = None
    _unfolded = False

    def compose(self) -> ComposeResult:
        with Page():
            yield Static(id="plan-says", markup=False)
            yield PlanText(id="plan-text")

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self.display or not self.is_mounted:
            return
        if model is None:
            self.look_at(None)
            self._say("No model is selected.")
        elif not model.has_profile:
            self.look_at(None)
            self._say(f"{model.name} has no profile any more: there is nothing to plan. It can be removed (d).")
        elif self.look_at(model.name):
            self._unfolded = False
            self._say("Planning …")
            self.query_one(Page).scroll_home(animate=False)

    def source_changed(self, source: Source) -> None:
        """What cannot be read is planned all the same: the error says why."""
        self.action_plan_again()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "plan_again":
                return self.subject is not None
            case "unfold":
                return self._plan is not None and plan_text.can_unfold(self._plan)
            case "copy":
                return self._plan is not None
        return True

    def action_plan_again(self) -> None:
        if self.subject:
            self._make_plan(self.subject)

    def action_unfold(self) -> None:
        self._unfolded = not self._unfolded
        self._show()

    def action_copy(self) -> None:
        if self._plan:
            self.app.copy_to_clipboard(command_line(self._plan.launch))
            self.notify("Copied the command line.", timeout=2)

    @work(thread=True, exclusive=True, group="plan")
    def _make_plan(self, name: str) -> None:
        try:
            result: Plan | str = self.api.plan(name)
        except EngineError as error:
            result = f"▲ {error}"
        self.app.call_from_thread(self._take, name, result)

    def _take(self, name: str, result: Plan | str) -> None:
        if self.subject != name:
            return
        if isinstance(result, str):
            self._say(result)
        else:
            self._plan = result
            self._show()

    def _show(self) -> None:
        if self._plan:
            self.query_one("#plan-says").display = False
            whole = plan_text.whole_files if self._unfolded else plan_text.files
            self.query_one(PlanText).show(
                self._plan,
                (
                    plan_text.judgement,
                    plan_text.advice,
                    plan_text.warnings,
                    plan_text.memory,
                    plan_text.told,
                    plan_text.gpus,
                    plan_text.facts,
                    whole,
                    plan_text.by_hand,
                ),
            )
            self.refresh_bindings()

    def _say(self, sentence: str) -> None:
        """In place of a plan."""
        self._plan = None
        self.query_one(PlanText).display = False
        says = self.query_one("#plan-says", Static)
        says.display = True
        if says.content != sentence:
            says.update(sentence)
        self.refresh_bindings()
