"""The pane `Launch`: the operations on the selected model, step by step, and the facts of its deployment."""

import textwrap

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from engine.snapshot import Model, OperationStatus, Outcome, Snapshot, Step
from tui import format as write
from tui.widgets.page import Page
from tui.widgets.pane import Pane

SYMBOLS = {
    None: " ",
    Outcome.RUNNING: "◐",
    Outcome.DONE: "✓",
    Outcome.FAILED: "▲",
    Outcome.CANCELLED: "–",
    Outcome.INTERRUPTED: "?",
}
EARLIER = 5
STEP_INDENT = 31
FACT_INDENT = 11


class LaunchPane(Pane):
    PARTS = (Page,)

    _text: str = ""
    _model: Model | None = None
    _snapshot: Snapshot | None = None

    def compose(self) -> ComposeResult:
        with Page():
            yield Static(id="launch-text", markup=False)

    def on_mount(self) -> None:
        self.set_interval(1.0, self._draw)

    def on_resize(self) -> None:
        self._draw()  # lines are wrapped to the pane's width

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        self._model, self._snapshot = model, snapshot
        self._draw()

    def _draw(self) -> None:
        if not self.display or not self.size or not self._snapshot:
            return
        text = self._describe(self._model, self._snapshot)
        if text.plain != self._text:
            self._text = text.plain
            self.query_one("#launch-text", Static).update(text)

    def _describe(self, model: Model | None, snapshot: Snapshot) -> Text:
        if model is None:
            return Text("No model is selected.")
        text = Text()
        operations = [status for status in snapshot.operations if status.target == model.name]
        if operations:
            self._add_operation(text, operations[0])
        elif not model.deployment:
            text.append(f"{model.name} has not been started. Press enter in the list to start it.\n")
        if model.deployment:
            self._add_facts(text, model)
        for status in operations[1 : 1 + EARLIER]:
            symbol = SYMBOLS[status.outcome]
            text.append(
                f"{symbol} {write.clock(status.began_at)}  {status.kind} {status.outcome.value}: {status.message}\n"
            )
        return text

    def _add_operation(self, text: Text, status: OperationStatus) -> None:
        took = write.duration((status.ended_at or write.now()) - status.began_at)
        text.append(f"{SYMBOLS[status.outcome]} {status.kind} {status.target}: {status.outcome.value}", style="bold")
        text.append(f"  began {write.clock(status.began_at)}, {took}, by {status.owner}\n", style="dim")
        for step in status.steps:
            self._add_step(text, step)
        if status.message:
            text.append(f"{status.message}\n")
        text.append("\n")

    def _add_step(self, text: Text, step: Step) -> None:
        text.append(f"  {SYMBOLS[step.outcome]} {step.title:<18}", style="" if step.outcome else "dim")
        took = write.duration((step.ended_at or write.now()) - step.began_at) if step.began_at else ""
        text.append(f"{took:>7}  ")
        text.append(f"{self._hung(step.detail, STEP_INDENT)}\n", style="dim")

    def _add_facts(self, text: Text, model: Model) -> None:
        deployment = model.deployment
        if not deployment:
            return
        service = deployment.service
        process = f", pid {deployment.pid}" if deployment.pid else ""
        facts = {
            "state": f"{model.state.value}{f': {model.detail}' if model.detail else ''}",
            "runtime": f"{deployment.runtime}, id {deployment.id[:12]}{process}",
            "runs": deployment.what,
            "answers at": "  ".join(address for address in (service.http, service.grpc, service.metrics) if address),
        }
        for title, value in facts.items():
            text.append(f"{title:<11}", style="dim")
            text.append(f"{self._hung(value, FACT_INDENT)}\n")
        text.append("\n")

    def _hung(self, text: str, indent: int) -> str:
        """Wrapped, with the lines below the first as far in as it begins."""
        lines = textwrap.wrap(text, max(20, self.size.width - indent - 4), break_on_hyphens=False)
        return f"\n{' ' * indent}".join(lines)
