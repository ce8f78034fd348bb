"""The question before a swap, with its plan; where it is unclear what is to go, it is chosen here."""

from dataclasses import replace
from functools import partial

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Static

from engine.api import EngineApi
from engine.errors import EngineError, Refused
from engine.plan import SwapPlan
from engine.request import Request, Way
from engine.snapshot import Model, Snapshot, Step
from tui.actions import RUNNING
from tui.screens.dialog import Dialog
from tui.widgets import plan_text
from tui.widgets.choices import Choices
from tui.widgets.plan_text import PlanText
from tui.widgets.state import LOOKS
from tui.widgets.swap_text import Swap

Planned = tuple[SwapPlan, list[Step]]


class ConfirmSwap(Dialog[Request]):
    BINDINGS = [
        Binding(
            "w", "other_way", "full way", id="swap.way", tooltip="Swap the full way instead of a faster one, or back"
        )
    ]

    def __init__(self, api: EngineApi, request: Request, model: Model, snapshot: Snapshot) -> None:
        """`request`: what is asked for; the answer is the same with what was chosen here."""
        super().__init__(f"swap to {model.name}?", "Swap")
        self._api = api
        self._request = request
        self._model = model
        self._snapshot = snapshot
        self._plan: SwapPlan | None = None

    def compose_head(self) -> ComposeResult:
        yield PlanText(id="swap-judgement")

    def compose_body(self) -> ComposeResult:
        yield Static("Planning …", id="swap-says", markup=False)
        yield Choices([(model.name, LOOKS[model.state].word) for model in self._candidates], id="swap-outgoing")
        yield PlanText(id="swap-plan")

    @property
    def _candidates(self) -> list[Model]:
        """What could go."""
        others = [model for model in self._snapshot.models if model.name != self._model.name]
        return [model for model in others if model.state in RUNNING and not model.foreign]

    def on_mount(self) -> None:
        for part in ("judgement", "plan", "outgoing"):
            self.query_one(f"#swap-{part}").display = False
        self.offer(possible=False)
        self._make_plan()

    def answer(self) -> Request:
        """What was shown is what is asked for, whatever runs by the time that it begins."""
        plan = self._plan
        names = tuple(one.name for one in plan.outgoing) if plan else self._request.outgoing
        return replace(self._request, outgoing=names, force=bool(plan and plan.obstacles))

    def _make_plan(self) -> None:
        request = self._request

        def ask() -> Planned:
            from engine.operations.swap_ways import steps  # it loads what only operations need

            plan = self._api.plan_swap(request.name, request.outgoing, full=request.full)
            return plan, steps(plan)

        self.ask_engine(ask, self._take)

    def _take(self, result: Planned | EngineError) -> None:
        says, outgoing = self.query_one("#swap-says", Static), self.query_one(Choices)
        planned = None if isinstance(result, EngineError) else result
        self._plan = planned[0] if planned else None
        if isinstance(result, Refused) and self._candidates:
            outgoing.display = True  # what the refusal says to do is how a command would be told
            self.trouble(result.what)
        else:
            self.trouble(str(result) if isinstance(result, EngineError) else "")
        says.display = outgoing.display
        says.update("What is to go? space chooses it, and the swap is planned again.")
        self._show(planned)
        self.offer(possible=planned is not None, anyway=bool(self._plan and self._plan.obstacles))
        if outgoing.display and (not self._plan or self._plan.obstacles):
            outgoing.focus()

    def _show(self, planned: Planned | None) -> None:
        judgement, details = self.query_one("#swap-judgement", PlanText), self.query_one("#swap-plan", PlanText)
        judgement.display = details.display = planned is not None
        self.hint("")
        if not planned:
            return
        plan, steps = planned
        swap = Swap(plan, steps, self._model, self._snapshot, self._request.drain_s)
        incoming = replace(plan.incoming, warnings=(*plan.warnings, *plan.incoming.warnings))
        judgement.show(incoming, (partial(plan_text.judgement, what="The swap"),))
        details.show(
            incoming,
            (plan_text.warnings, swap.changes, plan_text.advice, plan_text.memory, plan_text.gpus, plan_text.facts),
        )
        if self._request.full:
            self.hint("w  a faster way, if there is one")
        elif plan.way is not Way.FULL:
            self.hint("w  the full way instead: stop the one, start the other")

    @on(Choices.Changed)
    def _chosen(self) -> None:
        chosen = self.query_one(Choices).chosen
        if chosen != self._request.outgoing:
            self._request = replace(self._request, outgoing=chosen)
            self._make_plan()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "other_way":
            return self._plan is not None and (self._request.full or self._plan.way is not Way.FULL)
        return True

    def action_other_way(self) -> None:
        self._request = replace(self._request, full=not self._request.full)
        self.offer(possible=False)
        self._make_plan()
