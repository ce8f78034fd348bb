"""The question before anything is changed; for a start it holds the plan."""

from dataclasses import dataclass

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Static
from textual.widgets.button import ButtonVariant

from engine.api import EngineApi
from engine.errors import EngineError
from engine.plan import Plan
from engine.request import Action
from engine.snapshot import Model
from tui import format as write
from tui.actions import RUNNING
from tui.widgets import plan_text
from tui.widgets.plan_text import PlanText

PLANNED = (Action.START, Action.RESTART)


@dataclass(frozen=True, slots=True)
class Confirmed:
    action: Action
    name: str
    runtime: str | None
    force: bool = False
    """In spite of the plan's obstacles, which were shown"""


class Confirm(ModalScreen[Confirmed | None]):
    """Ends with what was confirmed, or with None."""

    BINDINGS = [
        Binding("y", "yes", "yes", id="confirm.yes", tooltip="Do it"),
        Binding("n,escape", "no", "no", id="confirm.no", tooltip="Leave all as it is"),
        Binding("r", "other_runtime", "other runtime", id="confirm.runtime", tooltip="Plan it for the other runtime"),
        Binding(
            plan_text.UNFOLD_KEY, "unfold", "whole files", id="confirm.unfold", tooltip="Show the whole of long files"
        ),
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
        self._runtime = model.runtime if action is Action.RESTART else None
        self._plan: Plan | None = None
        self._unfolded = False
        self._possible = action is not Action.START

    def compose(self) -> ComposeResult:
        with Vertical(id="confirm-box") as box:
            box.border_title = f"{self._change.value} {self._model.name}?"
            # What speaks against it stays in sight, however far the rest is scrolled.
            with VerticalScroll(id="confirm-head", can_focus=False):
                yield Static("", id="confirm-trouble", markup=False)
                yield PlanText(id="confirm-judgement")
            with VerticalScroll(id="confirm-body", can_focus=False):
                yield Static(self._what_happens(), id="confirm-text", markup=False)
                yield PlanText(id="confirm-plan")
            yield Static("", id="confirm-hint", markup=False)
            with Horizontal(id="confirm-buttons"):
                yield Button(f"{self._word} (y)", variant=self._variant(), id="yes", compact=True)
                yield Button("Cancel (n)", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#yes", Button).disabled = not self._possible
        self.query_one("#yes" if self._possible else "#no", Button).focus()
        for part in ("trouble", "judgement", "plan"):
            self.query_one(f"#confirm-{part}").display = False
        if self._change in PLANNED:
            self._make_plan()

    @property
    def _word(self) -> str:
        return self._change.value.capitalize()

    @property
    def _force(self) -> bool:
        return bool(self._plan and self._plan.obstacles)

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
    def _make_plan(self) -> None:
        try:
            result: Plan | str = self._api.plan(self._model.name, self._runtime)
        except EngineError as error:
            result = str(error)
        self.app.call_from_thread(self._take, result)

    def _take(self, result: Plan | str) -> None:
        """A restart is planned to see whether anything speaks against it."""
        self._plan = None if isinstance(result, str) else result
        self._possible = self._plan is not None
        trouble = self.query_one("#confirm-trouble", Static)
        trouble.display = not self._possible
        trouble.update(f"▲ {result}" if isinstance(result, str) else "")
        if self._change is Action.START:
            self.query_one("#confirm-text").display = False
        if self._plan:
            self._runtime = self._plan.launch.runtime
            self._runtimes = self._plan.runtimes if self._change is Action.START else ()
        self._show_plan()
        self._offer()

    def _show_plan(self) -> None:
        judgement, details = self.query_one("#confirm-judgement", PlanText), self.query_one("#confirm-plan", PlanText)
        judgement.display = details.display = self._plan is not None
        if not self._plan:
            return
        if self._change is Action.RESTART:
            judgement.show(self._plan, (plan_text.judgement,) if self._plan.obstacles else ())
            details.display = False
            return
        judgement.show(self._plan, (plan_text.judgement,))
        details.show(
            self._plan,
            (
                plan_text.advice,
                plan_text.warnings,
                plan_text.memory,
                plan_text.gpus,
                plan_text.facts,
                plan_text.whole_files if self._unfolded else plan_text.files,
                plan_text.by_hand,
            ),
        )

    def _offer(self) -> None:
        """The buttons, and the keys beside them."""
        yes, no = self.query_one("#yes", Button), self.query_one("#no", Button)
        yes.disabled = not self._possible
        yes.label = f"{self._word} anyway (y)" if self._force else f"{self._word} (y)"
        yes.variant = "warning" if self._force else self._variant()
        if not self._possible or self._force:
            no.focus()
        elif self._change is Action.START:
            yes.focus()
        others = [name for name in self._runtimes if name != self._runtime]
        self.query_one("#confirm-hint", Static).update(f"r  on {others[0]} instead" if others else "")
        self.refresh_bindings()
        self.call_after_refresh(self._fit)

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """The plan takes what its head, the buttons and the border leave: they are never pushed off the screen."""
        others = sum(self.query_one(f"#confirm-{part}").outer_size.height for part in ("head", "hint", "buttons"))
        self.query_one("#confirm-body").styles.max_height = max(2, self.size.height - others - 2)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "other_runtime":
            return len(self._runtimes) > 1
        if action == "unfold":
            return self._plan is not None and self._change is Action.START and plan_text.can_unfold(self._plan)
        return True

    def action_other_runtime(self) -> None:
        others = [name for name in self._runtimes if name != self._runtime]
        if others:
            self._runtime = others[0]
            self._possible, self._plan = False, None
            self.query_one("#yes", Button).disabled = True
            self._show_plan()
            self.query_one("#confirm-trouble").display = False
            self.query_one("#confirm-text").display = True
            self._make_plan()

    def action_unfold(self) -> None:
        self._unfolded = not self._unfolded
        self._show_plan()

    def action_scroll(self, by: int) -> None:
        """First what has no room in the head, if anything: it is the more urgent."""
        head, body = self.query_one("#confirm-head"), self.query_one("#confirm-body")
        first, then = (head, body) if by > 0 else (body, head)
        more = first.scroll_y < first.max_scroll_y if by > 0 else first.scroll_y > 0
        (first if more else then).scroll_relative(y=by, animate=False)

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        if self._possible:
            runtime = self._runtime if self._change is Action.START else None
            self.dismiss(Confirmed(self._change, self._model.name, runtime, self._force))

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)
