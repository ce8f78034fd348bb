"""The playground: prompts to the selected model, their answers as they arrive, and how long they took."""

import time
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.message import Message
from textual.validation import Integer, Number
from textual.widgets import Input, Label, Static

from engine.api import EngineApi
from engine.errors import EngineError
from engine.inference.prompt import PromptEvent, PromptRequest, Sampling
from engine.snapshot import Model, Snapshot
from engine.text import clean
from tui.widgets.pane import Pane
from tui.widgets.prompt_editor import PromptEditor
from tui.widgets.prompt_history import HistoryList, PromptHistory
from tui.widgets.prompt_runs import PromptRun, PromptSession
from tui.widgets.prompt_status import obstacle, status_line
from tui.widgets.streamed_text import StreamedText

if TYPE_CHECKING:
    from textual.timer import Timer

REPAINT_S = 0.05
"""The least time between two repaints of a growing answer"""
CLOCK_S = 0.25
WIDE = 110
"""Columns of the pane from which the history stands beside the answer"""


class PlaygroundPane(Pane):
    DEFAULT_CSS = """
    PlaygroundPane {
        layout: vertical;
        & #work { height: 1fr; }
        & #answer { height: 1fr; padding: 0 1; }
        & #status { height: auto; max-height: 2; padding: 0 1; background: $boost; }
        & PromptEditor { max-height: 4; }
        & #options { height: 1; padding: 0 1; }
        & #options Label { color: $text-muted; padding: 0 1 0 0; }
        & #options Input { width: 10; margin: 0 2 0 0; }
        & #options #served-model { width: 1fr; max-width: 36; }
        & #dialogue { width: 1fr; }
        & PromptHistory { display: none; height: 45%; min-height: 3; }
        &.-history PromptHistory { display: block; }
        &.-wide #work { layout: horizontal; }
        &.-wide PromptHistory {
            display: block; width: 48%; max-width: 80; height: 1fr; border-left: vkey $border-blurred;
        }
        &.-tall PromptEditor { max-height: 8; min-height: 2; }
        &.-narrow #options Input { width: 8; margin: 0 1 0 0; }
        &.-low #status { max-height: 1; }
        &.-low.-history { & #options, & PromptEditor { display: none; } }
    }
    """
    FOCUS = "#prompt"
    PARTS = (PromptEditor, HistoryList, StreamedText)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", id="playground.cancel", tooltip="Cancel the prompt under way"),
        Binding(
            "escape",
            "leave_history",
            "to the prompt",
            id="playground.leave",
            tooltip="In the history: back to the prompt",
        ),
        Binding("ctrl+r", "history", "history", id="playground.history", tooltip="Earlier prompts and their timings"),
        Binding("y", "copy", "copy", id="playground.copy", tooltip="Copy the answer"),
    ]

    class Arrived(Message):
        """Something came from the engine's thread for a prompt."""

        def __init__(self, run: PromptRun) -> None:
            super().__init__()
            self.run = run

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._model: Model | None = None
        self._session = PromptSession()
        self._sessions: dict[str, PromptSession] = {}
        self._painted_at = 0.0
        self._clock: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="work"):
            yield StreamedText(id="answer")
            yield PromptHistory(id="history")
        yield Static(id="status", markup=False)
        yield PromptEditor(id="prompt")
        with Horizontal(id="options"):
            yield Label("max tokens")
            yield Input(id="max-tokens", compact=True, type="integer", validators=[Integer(minimum=1)])
            yield Label("temperature")
            yield Input(
                id="temperature",
                compact=True,
                placeholder="default",
                type="number",
                validators=[Number(minimum=0, maximum=10)],
                valid_empty=True,
            )
            yield Label("model")
            yield Input(id="served-model", compact=True, placeholder="automatic")

    def on_mount(self) -> None:
        self._clock = self.set_interval(CLOCK_S, self._tick, pause=True)
        self._load(PromptSession())

    def on_unmount(self) -> None:
        for session in self._sessions.values():
            if session.running is not None and session.running.cancel is not None:
                session.running.cancel()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= WIDE, "-wide")
        self.set_class(event.size.width < 70, "-narrow")
        self.set_class(event.size.height >= 20, "-tall")
        self.set_class(event.size.height < 11, "-low")

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        before, self._model = self._model, model
        name = model.name if model else None
        if name != (before.name if before else None):
            self._keep()
            self._load(self._sessions.setdefault(name, PromptSession()) if name is not None else PromptSession())
        elif (model and (model.state, model.detail)) != (before and (before.state, before.detail)):
            self._show_status()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "cancel":
            return self._session.running is not None
        if action == "leave_history":
            return self.is_mounted and self._history.list.has_focus
        return True

    # What the operator asks for

    def on_prompt_editor_sent(self) -> None:
        refusal = self._refusal()
        if refusal:
            self.notify(refusal, severity="warning", markup=False)
            return
        assert self._model is not None  # noqa: S101
        editor = self._editor
        try:
            request = self._request(editor.text)
        except ValueError as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        run = PromptRun(request)
        self._session.add(run)
        editor.text = ""
        self._show_run()
        try:
            run.cancel = self.api.ask(self._model.name, request, partial(self._receive, run))
        except EngineError as error:
            run.fail(str(error))
            self._show_run()

    def on_prompt_editor_recalled(self) -> None:
        if self._session.runs:
            self._recall(self._session.runs[0])

    def on_prompt_history_looked(self, event: PromptHistory.Looked) -> None:
        if event.run is not self._session.shown:
            self._session.shown = event.run
            self._show_answer()

    def on_prompt_history_recalled(self, event: PromptHistory.Recalled) -> None:
        self._recall(event.run)

    def on_prompt_history_chosen(self) -> None:
        self.action_leave_history()

    def action_history(self) -> None:
        if not self._session.runs:
            self.notify("No prompt was sent to this deployment yet.", markup=False)
        elif self._history.list.has_focus:
            self.action_leave_history()
        else:
            self.add_class("-history")
            self._history.list.focus()

    def action_cancel(self) -> None:
        run = self._session.running
        if run is not None and run.cancel is not None and not run.cancelling:
            run.cancelling = True
            run.cancel()
            self._show_status()

    def action_copy(self) -> None:
        run = self._session.shown
        if run is not None and run.text:
            self.app.copy_to_clipboard(run.text)
            self.notify("The answer is copied, if the terminal allows it.", markup=False)

    # What comes from the engine

    def _receive(self, run: PromptRun, event: PromptEvent) -> None:
        """On the engine's thread."""
        if not run.receive(event):
            return
        try:
            self.post_message(self.Arrived(run))
        except RuntimeError:  # the screen closed just now: nobody is left to be told
            return

    def on_playground_pane_arrived(self, event: Arrived) -> None:
        event.stop()
        wait = self._painted_at + REPAINT_S - time.monotonic()
        if wait > 0:
            self.set_timer(wait, partial(self._take, event.run))
        else:
            self._take(event.run)

    def _take(self, run: PromptRun) -> None:
        text = run.take()
        if run is self._session.shown:
            self._painted_at = time.monotonic()
            if text:
                self._answer.append(text)
            if run.result is not None and run.result.error:
                self._answer.append(run.result.error, "note")
        if run.result is not None and run in self._session.runs:
            self._history.show(self._session.runs, self._session.shown)
            self.refresh_bindings()
        self._show_status()

    # What is shown

    @property
    def _answer(self) -> StreamedText:
        return self.query_one("#answer", StreamedText)

    @property
    def _history(self) -> PromptHistory:
        return self.query_one(PromptHistory)

    @property
    def _editor(self) -> PromptEditor:
        return self.query_one(PromptEditor)

    def _input(self, name: str) -> Input:
        return self.query_one(f"#{name}", Input)

    def _keep(self) -> None:
        """What was typed stays with its deployment."""
        session = self._session
        session.draft = self._editor.text
        session.max_tokens = self._input("max-tokens").value
        session.temperature = self._input("temperature").value
        session.served_model = self._input("served-model").value

    def _load(self, session: PromptSession) -> None:
        self._session = session
        self._editor.text = session.draft
        self._editor.move_cursor(self._editor.document.end)
        self._input("max-tokens").value = session.max_tokens
        self._input("temperature").value = session.temperature
        self._input("served-model").value = session.served_model
        self._show_run()

    def _recall(self, run: PromptRun) -> None:
        self._editor.text = run.request.prompt
        self._editor.move_cursor(self._editor.document.end)
        self.action_leave_history()

    def action_leave_history(self) -> None:
        self.remove_class("-history")
        self._editor.focus()

    def _show_run(self) -> None:
        self._history.show(self._session.runs, self._session.shown)
        self._show_answer()
        self.refresh_bindings()

    def _show_answer(self) -> None:
        answer, run = self._answer, self._session.shown
        answer.clear()
        if run is not None:
            run.take()
            answer.append(clean(run.request.prompt), "prompt")
            if run.text:
                answer.append(run.text)
            if run.result is not None and run.result.error:
                answer.append(run.result.error, "note")
            if run.result is not None:
                answer.show_start()
        self._show_status()

    def _tick(self) -> None:
        if self.display:
            self._show_status()

    def _show_status(self) -> None:
        run = self._session.shown
        if self._clock is not None:
            (self._clock.resume if run is not None and run.result is None else self._clock.pause)()
        self.query_one("#status", Static).update(status_line(run, obstacle(self._model)))

    def _refusal(self) -> str:
        if hindrance := obstacle(self._model):
            return hindrance
        if self._session.running is not None:
            return "A prompt is under way: wait for its answer, or press escape to cancel it."
        return "" if self._editor.text.strip() else "Type a prompt first."

    def _request(self, prompt: str) -> PromptRequest:
        """Raises ValueError with a sentence when an option cannot be used."""
        tokens, temperature = self._input("max-tokens"), self._input("temperature")
        for field, meaning in (
            (tokens, "Max tokens is a whole number from 1"),
            (temperature, "Temperature is 0 to 10"),
        ):
            checked = field.validate(field.value)
            if checked is not None and not checked.is_valid:
                field.focus()
                raise ValueError(f"{meaning}: {field.value!r} is not.")
        return PromptRequest(
            prompt,
            model=self._input("served-model").value.strip() or None,
            sampling=Sampling(int(tokens.value), float(temperature.value) if temperature.value else None),
        )
