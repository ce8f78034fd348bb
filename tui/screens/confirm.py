"""The question before anything is changed; for a start it holds the plan."""

from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static
from textual.widgets.button import ButtonVariant

from engine.api import Action, EngineApi
from engine.errors import EngineError
from engine.snapshot import Model
from tui import format as write
from tui.actions import RUNNING
from tui.widgets.plan_text import plan_text


@dataclass(frozen=True, slots=True)
class Confirmed:
    action: Action
    name: str
    runtime: str | None


class Confirm(ModalScreen[Confirmed | None]):
    """Ends with what was confirmed, or with None."""

    BINDINGS = [
        Binding("y", "yes", "yes", id="confirm.yes", tooltip="Do it"),
        Binding("n,escape", "no", "no", id="confirm.no", tooltip="Leave all as it is"),
        Binding("r", "other_runtime", "other runtime", id="confirm.runtime", tooltip="Plan it for the other runtime"),
        Binding("left,right", "app.focus_next", "other button", show=False, tooltip="Go to the other button"),
        Binding("down,j", "scroll(1)", "down", show=False, tooltip="Scroll the plan down by a line"),
        Binding("up,k", "scroll(-1)", "up", show=False, tooltip="Scroll the plan up by a line"),
        Binding("pagedown,space", "scroll(10)", "page down", show=False, tooltip="Scroll the plan down"),
        Binding("pageup", "scroll(-10)", "page up", show=False, tooltip="Scroll the plan up"),
    ]

    def __init__(self, api: EngineApi, action: Action, model: Model) -> None:
        super().__init__()
        self._api = api
        self._change = action
        self._model = model
        self._runtimes: tuple[str, ...] = ()
        self._runtime: str | None = None
        self._possible = action is not Action.START

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm-box") as box:
            box.border_title = f"{self._change.value} {self._model.name}?"
            with VerticalScroll(id="confirm-body", can_focus=False):
                yield Static(self._what_happens(), id="confirm-text", markup=False)
            yield Static("", id="confirm-hint", markup=False)
            with Horizontal(id="confirm-buttons"):
                yield Button(f"{self._change.value.capitalize()} (y)", variant=self._variant(), id="yes", compact=True)
                yield Button("Cancel (n)", id="no", compact=True)

    def on_mount(self) -> None:
        if self._possible:
            self.query_one("#yes", Button).focus()
        else:
            self.query_one("#yes", Button).disabled = True
            self.query_one("#no", Button).focus()
            self._plan()

    def _variant(self) -> ButtonVariant:
        return "primary" if self._change is Action.START else "warning"

    def _what_happens(self) -> str:
        name, model = self._model.name, self._model
        since = f" for {write.duration(write.now() - model.since)}" if model.since else ""
        match self._change:
            case Action.START:
                return "Planning …"
            case Action.STOP:
                return (
                    f"{name} has been {model.state.value}{since} at {model.endpoint}. Requests that it is answering"
                    " are lost if they outlast its shutdown, and its clients find nobody there until it is started"
                    " again. It is kept, with its log, and can be started again."
                )
            case Action.RESTART:
                return (
                    f"{name} has been {model.state.value}{since} at {model.endpoint}. It is stopped, and then started"
                    " by its profile as it is now. Its clients find nobody there until it is ready again."
                )
            case Action.REMOVE:
                running = f" It is {model.state.value} and is stopped first." if model.state in RUNNING else ""
                return f"The deployment {name} and its log are removed.{running} The profile stays."

    @work(thread=True, exclusive=True)
    def _plan(self) -> None:
        try:
            plan = self._api.plan(self._model.name, self._runtime)
        except EngineError as error:
            self.app.call_from_thread(self._show_plan, Text(f"▲ {error}"), (), possible=False)
        else:
            self.app.call_from_thread(
                self._show_plan, plan_text(plan), plan.runtimes, possible=True, runtime=plan.launch.runtime
            )

    def _show_plan(
        self, text: RenderableType, runtimes: tuple[str, ...], *, possible: bool, runtime: str | None = None
    ) -> None:
        self.query_one("#confirm-text", Static).update(text)
        self._possible = possible
        self._runtimes = runtimes or self._runtimes
        self._runtime = runtime or self._runtime
        yes = self.query_one("#yes", Button)
        yes.disabled = not possible
        (yes if possible else self.query_one("#no", Button)).focus()
        others = [name for name in self._runtimes if name != self._runtime]
        self.query_one("#confirm-hint", Static).update(f"r  on {others[0]} instead" if others else "")
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "other_runtime":
            return len(self._runtimes) > 1
        return True

    def action_other_runtime(self) -> None:
        others = [name for name in self._runtimes if name != self._runtime]
        if others:
            self._runtime = others[0]
            self.query_one("#confirm-text", Static).update("Planning …")
            self.query_one("#yes", Button).disabled = True
            self._plan()

    def action_scroll(self, by: int) -> None:
        self.query_one("#confirm-body", VerticalScroll).scroll_relative(y=by, animate=False)

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        if self._possible:
            self.dismiss(Confirmed(self._change, self._model.name, self._runtime))

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)
