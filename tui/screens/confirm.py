"""The question before a deployment is started, stopped, restarted or removed; for a start it holds the plan."""

from dataclasses import replace

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from engine.api import EngineApi
from engine.errors import EngineError
from engine.plan import Plan
from engine.request import Action, Request
from engine.snapshot import Model
from tui import format as write
from tui.actions import RUNNING
from tui.operation_words import usual
from tui.screens.dialog import Dialog
from tui.widgets import plan_text
from tui.widgets.plan_text import PlanText

PLANNED = (Action.START, Action.RESTART)


class Confirm(Dialog[Request]):
    BINDINGS = [
        Binding("r", "other_runtime", "other runtime", id="confirm.runtime", tooltip="Plan it for the other runtime"),
        Binding(
            plan_text.UNFOLD_KEY, "unfold", "whole files", id="confirm.unfold", tooltip="Show the whole of long files"
        ),
    ]

    def __init__(self, api: EngineApi, request: Request, model: Model) -> None:
        """`request`: what is asked for; the answer is the same with what was chosen here."""
        word = request.action.value
        start = request.action is Action.START
        super().__init__(f"{word} {model.name}?", word.capitalize(), "primary" if start else "warning")
        self._api = api
        self._request = request
        self._change = request.action
        self._model = model
        self._runtimes: tuple[str, ...] = ()
        self._runtime = model.runtime if request.action is Action.RESTART else None
        self._plan: Plan | None = None
        self._unfolded = False

    def compose_head(self) -> ComposeResult:
        yield PlanText(id="confirm-judgement")

    def compose_body(self) -> ComposeResult:
        yield Static(self._what_happens(), id="confirm-text", markup=False)
        yield PlanText(id="confirm-plan")

    def on_mount(self) -> None:
        for part in ("judgement", "plan"):
            self.query_one(f"#confirm-{part}").display = False
        self.offer(possible=self._change is not Action.START)
        if self._change in PLANNED:
            self._make_plan()

    def answer(self) -> Request:
        runtime = self._runtime if self._change is Action.START else None
        return replace(self._request, runtime=runtime, force=bool(self._plan and self._plan.obstacles))

    def _what_happens(self) -> str:
        name, model = self._model.name, self._model
        since = f" for {write.duration(write.now() - model.since)}" if model.since else ""
        match self._change:
            case Action.STOP:
                return (
                    f"{name} has been {model.state.value}{since} at {model.endpoint}. Requests that it is answering"
                    " are lost if they outlast its shutdown, and its clients find nobody there until it is started"
                    f" again. {self._what_remains()}"
                )
            case Action.RESTART:
                usual_time = f" Its start {usual(model.estimate)}." if model.estimate else ""
                return (
                    f"{name} has been {model.state.value}{since} at {model.endpoint}. It is stopped, and then started"
                    f" by its profile as it is now. Its clients find nobody there until it is ready again.{usual_time}"
                )
            case Action.REMOVE:
                running = f" It is {model.state.value} and is stopped first." if model.state in RUNNING else ""
                return f"The deployment {name} and its log are removed.{running} The profile stays."
        return "Planning …"

    def _what_remains(self) -> str:
        deployment = self._model.deployment
        if deployment and deployment.removed_when_stopped:
            return "It was started with --rm: stopping it removes it, with its log."
        back = deployment and deployment.restarts_itself
        again = " Its restart policy may bring it back when Docker starts." if back else ""
        return f"It is kept, with its log, and can be started again.{again}"

    def _make_plan(self) -> None:
        self.ask_engine(lambda: self._api.plan(self._model.name, self._runtime), self._take)

    def _take(self, result: Plan | EngineError) -> None:
        """A restart is planned to see whether anything speaks against it."""
        self._plan = None if isinstance(result, EngineError) else result
        self.trouble(str(result) if isinstance(result, EngineError) else "")
        if self._change is Action.START:
            self.query_one("#confirm-text").display = False
        if self._plan:
            self._runtime = self._plan.launch.runtime
            self._runtimes = self._plan.runtimes if self._change is Action.START else ()
        self._show_plan()
        others = [name for name in self._runtimes if name != self._runtime]
        usual_time = f"Its start {usual(self._model.estimate)}." if self._plan and self._model.estimate else ""
        keys = f"r  on {others[0]} instead" if others else ""
        self.hint("   ".join(filter(None, (usual_time if self._change is Action.START else "", keys))))
        self.offer(
            possible=self._plan is not None,
            anyway=bool(self._plan and self._plan.obstacles),
            default=self._change is Action.START,
        )

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
                plan_text.told,
                plan_text.gpus,
                plan_text.facts,
                plan_text.whole_files if self._unfolded else plan_text.files,
                plan_text.by_hand,
            ),
        )

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
            self._plan = None
            self._show_plan()
            self.trouble("")
            self.query_one("#confirm-text").display = True
            self.offer(possible=False)
            self._make_plan()

    def action_unfold(self) -> None:
        self._unfolded = not self._unfolded
        self._show_plan()
