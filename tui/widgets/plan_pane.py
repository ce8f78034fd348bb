"""The pane `Plan`: what starting the selected model would do."""

from rich.console import RenderableType
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from engine.errors import EngineError
from engine.snapshot import Model, Snapshot
from tui.widgets.page import Page
from tui.widgets.pane import Pane
from tui.widgets.plan_text import plan_text


class PlanPane(Pane):
    BINDINGS = [
        Binding(
            "r",
            "plan_again",
            "plan again",
            id="plan.again",
            tooltip="Plan it again, with what is free now",
        )
    ]
    PARTS = (Page,)

    _planned: str | None = None

    def compose(self) -> ComposeResult:
        with Page():
            yield Static(id="plan-text", markup=False)

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self.display or not self.is_mounted:
            return
        if model is None:
            self._planned = None
            self._write("No model is selected.")
        elif not model.has_profile:
            self._planned = None
            self._write(f"{model.name} has no profile any more: there is nothing to plan. It can be removed (d).")
        elif self._planned != model.name:
            self._planned = model.name
            self._write("Planning …")
            self._plan(model.name)

    def action_plan_again(self) -> None:
        if self._planned:
            self._plan(self._planned)

    @work(thread=True, exclusive=True, group="plan")
    def _plan(self, name: str) -> None:
        try:
            text: RenderableType = plan_text(self.api.plan(name))
        except EngineError as error:
            text = Text(f"▲ {error}")
        self.app.call_from_thread(self._take, name, text)

    def _take(self, name: str, text: RenderableType) -> None:
        if self._planned == name:
            self._write(text)

    def _write(self, content: RenderableType) -> None:
        self.query_one("#plan-text", Static).update(content)
