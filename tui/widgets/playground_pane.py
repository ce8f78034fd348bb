"""The playground: prompts to the selected model, their answers as they arrive, and how long they took."""

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key, Resize
from textual.widgets import Static

from engine.api import EngineApi
from engine.deployment import State
from engine.inference.prompt import Style
from engine.snapshot import Model, Snapshot
from tui.widgets.playground_facts import PlaygroundFacts
from tui.widgets.prompt_answer import PromptAnswer
from tui.widgets.prompt_editor import PromptEditor
from tui.widgets.prompt_gaps import GapStrip
from tui.widgets.prompt_history import HistoryList, PromptHistory
from tui.widgets.prompt_offers import start_of
from tui.widgets.prompt_reasoning import Piece
from tui.widgets.prompt_runs import PromptRun, PromptSession
from tui.widgets.prompt_settings import Mode, PromptSettings, modes_of
from tui.widgets.prompt_status import hindrance_to, obstacle, status_line, told_line
from tui.widgets.streamed_text import StreamedText

if TYPE_CHECKING:
    from textual.timer import Timer

    from engine.inference.prompt import PromptRequest

CLOCK_S = 0.25
ESCAPES = ("cancel", "end_filter", "leave_history", "leave_editing")
"""What `escape` does within the pane"""
LATE_S = 0.5
"""An `escape` so soon after an answer's end was meant for the answer"""
WIDE = 110
"""Columns of the pane from which the history stands beside the answer"""


class PlaygroundPane(PlaygroundFacts):
    DEFAULT_CSS = """
    PlaygroundPane {
        layout: vertical;
        & #work { height: 1fr; }
        & PromptAnswer { height: 1fr; }
        & #status { height: auto; max-height: 2; padding: 0 1; background: $boost; }
        & PromptEditor { max-height: 4; }
        & #told { height: auto; max-height: 2; padding: 0 1; color: $text-muted; }
        & PromptAnswer { width: 1fr; }
        & PromptHistory { display: none; height: 45%; min-height: 4; }
        &.-history PromptHistory { display: block; }
        &.-wide #work { layout: horizontal; }
        &.-wide PromptHistory {
            display: block; width: 48%; max-width: 80; height: 1fr; border-left: vkey $border-blurred;
        }
        &.-tall PromptEditor { max-height: 8; min-height: 2; }
        &.-low #told { max-height: 1; }
        &.-lowest #status { max-height: 1; }
        &.-low GapStrip { display: none; }
        &.-low.-history { & #told, & PromptEditor { display: none; } }
    }
    """
    FOCUS = "#prompt"
    PARTS = (PromptEditor, PromptAnswer, StreamedText, HistoryList)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "cancel", id="playground.cancel", tooltip="Cancel the prompt under way"),
        Binding("escape", "end_filter", "all", id="playground.end_filter", tooltip="In the history: end the filter"),
        Binding("escape", "leave_history", "prompt", id="playground.leave", tooltip="In the history: to the prompt"),
        Binding("escape", "leave_editing", "leave it", id="playground.leave_edit", tooltip="Leave the last turn as is"),
        Binding("ctrl+o", "options", "options", id="playground.options", tooltip="System prompt, model and parameters"),
        Binding("ctrl+t", "mode", "chat/single", id="playground.mode", tooltip="Chat, single prompts or completion"),
        Binding("ctrl+n", "new", "new chat", id="playground.new", tooltip="Begin a new conversation"),
        Binding("ctrl+r", "history", "history", id="playground.history", tooltip="Earlier prompts and their timings"),
        Binding("ctrl+l", "library", "saved", id="playground.saved", tooltip="Saved prompts: take one, or save this"),
    ]

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._clock: Timer | None = None
        self._ended_at = float("-inf")
        self._status_lines = -1
        """When the last answer of the model that is shown ended, by the monotonic clock"""

    def compose(self) -> ComposeResult:
        with Vertical(id="work"):
            yield PromptAnswer(id="conversation")
            yield PromptHistory(id="history")
        yield Static(id="status", markup=False)
        yield GapStrip(id="gaps")
        yield PromptEditor(id="prompt")
        yield Static(id="told", markup=False)

    def on_mount(self) -> None:
        self._clock = self.set_interval(CLOCK_S, self._tick, pause=True)
        self._load(PromptSession())

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= WIDE, "-wide")
        self.set_class(event.size.height >= 20, "-tall")
        self.set_class(event.size.height < 11, "-low")
        self.set_class(event.size.height < 8, "-lowest")
        self._show_status()

    def take_focus(self) -> None:
        """The history keeps the keys that it has, and in a low pane it gives its room back when it has none."""
        if self.history.has_focus_within:
            return
        if self.has_class("-history"):
            self.action_leave_history()
        else:
            super().take_focus()

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        before, self._model, self._snapshot = self._model, model, snapshot
        name = model.name if model else None
        if name != (before.name if before else None):
            self._session.draft = self._editor.text
            self._load(self.session_of(name) if name is not None else PromptSession())
            self.read_kept()
        elif (model and (model.state, model.detail)) != (before and (before.state, before.detail)):
            self._show_status()
        self.look_for_offer()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        session = self._session
        if action == "cancel":
            return session.running is not None
        if action == "end_filter":
            return self.is_mounted and self.history.filtering
        if action == "leave_history":
            return self.is_mounted and self.history.list.has_focus
        if action == "leave_editing":
            return session.editing is not None
        if action == "mode":
            return self._model is not None and len(modes_of(self.asked_model)) > 1
        if action == "new":
            return self._model is not None and session.running is None and Mode.CHAT in modes_of(self.asked_model)
        return self._model is not None or action == "history"

    def on_key(self, event: Key) -> None:
        """A late `escape` must not leave the pane."""
        late = event.key == "escape" and time.monotonic() - self._ended_at < LATE_S
        if late and not any(self.check_action(own, ()) for own in ESCAPES):
            event.stop()

    # What the operator asks for

    def on_prompt_editor_sent(self) -> None:
        session, model, text = self._session, self._model, self._editor.text
        refusal = hindrance_to(text, session, model)
        if refusal or model is None:
            self.notify(refusal, severity="warning", markup=False)
            return
        settings = session.settings
        request = settings.request(text, session.turns, self.asked_model)
        conversing = settings.mode_for(self.asked_model) is Mode.CHAT
        other = self._other(settings)
        if settings.also and other is None:
            self.notify(f"{settings.also} is not free for a prompt: only {model.name} is asked.", markup=False)
        run = self.new_run(PromptRun(request, model.name, conversing=conversing))
        self._editor.text = ""
        if other is None:
            self.begin(run)
        else:
            # The other has models, adapters and ways of its own, and perhaps nobody who applies a template.
            style = None if request.style is Style.CHAT else request.style
            same = replace(request, model=None, lora=None, transport=None, style=style)
            second = self.new_run(PromptRun(same, other.name, conversing=conversing))
            self.begin_both(run, second, at_once=settings.at_once)
            self._compare(run, second)
        self._show_run()

    def _other(self, settings: PromptSettings) -> Model | None:
        """To which the same prompt goes, if it can take one now."""
        other = self._snapshot.model(settings.also) if settings.also and self._snapshot else None
        if other is None or other.state is not State.READY or self.session_of(other.name).running:
            return None
        return other

    def on_prompt_editor_recalled(self) -> None:
        session = self._session
        if session.running is not None:
            self.notify("It is brought back when it is answered, or cancelled with escape.", markup=False)
            return
        here = (run for run in self._kept if self._model and run.deployment == self._model.name)
        last = session.edit_last() or next(here, None)
        if last is None:
            self.notify(self.history.trouble or "Nothing was sent yet.", markup=False)
            return
        self._write(last.prompt)
        if session.editing:
            self._show_run()

    def on_prompt_history_looked(self, event: PromptHistory.Looked) -> None:
        if event.run is not self._session.shown:
            self._session.shown = event.run
            self._show_answer()

    def on_prompt_history_recalled(self, event: PromptHistory.Recalled) -> None:
        session, request = self._session, event.run.request
        session.settings = session.settings.recalled(request)
        session.turns, session.editing = request.history, None
        self._write(event.run.prompt)
        self.action_leave_history()
        self.show_told()

    def on_prompt_history_compared(self, event: PromptHistory.Compared) -> None:
        first, second = event.marked, event.run
        if first.deployment == second.deployment and second.at < first.at:
            first, second = second, first  # what was before stands on the left
        self._compare(first, second)

    def on_prompt_history_chosen(self) -> None:
        self.action_leave_history()

    def on_prompt_history_scope_asked(self) -> None:
        self.read_kept()

    def action_history(self) -> None:
        if self.history.list.has_focus:
            self.action_leave_history()
            return
        self.add_class("-history")
        self.history.enter()
        self.read_kept()

    def action_leave_history(self) -> None:
        self.remove_class("-history")
        self._editor.focus()

    def action_end_filter(self) -> None:
        self.history.end_filter()

    def action_leave_editing(self) -> None:
        self._session.leave_editing()
        self._editor.text = ""
        self._show_run()

    def action_cancel(self) -> None:
        if self._session.running is not None:
            self.cancel(self._session.running)
            self._show_status()

    def action_mode(self) -> None:
        session = self._session
        session.settings = replace(session.settings, mode=session.settings.next_mode(self.asked_model))
        self.show_told()

    def action_new(self) -> None:
        self._session.begin_anew()
        self._show_run()
        self._editor.focus()

    def action_options(self) -> None:
        from tui.screens.prompt_options import PromptOptions

        if self._model is not None:
            session = self._session
            stale = session.offer.stale(start_of(self._model, session.settings.transport))
            form = PromptOptions(self.api, self._model, session.settings, session.offer, self._snapshot, stale=stale)
            self.app.push_screen(form, partial(self._options_chosen, session))

    def _options_chosen(self, session: PromptSession, settings: PromptSettings | None) -> None:
        if settings is not None:
            before = self.asked_model
            session.settings = settings
            if before and self._editor.text == before.example:
                self._editor.text = ""
            self._write_example()
            if session.offer.trouble:
                session.offer = replace(session.offer, of=None)  # it is asked once more
            self.look_for_offer()
            self.show_told()

    def action_library(self) -> None:
        from engine.prompt_record import SavedPrompt
        from tui.screens.prompt_library import PromptLibrary

        session = self._session
        request = session.settings.request(self._editor.text, session.turns, self.asked_model)
        present = SavedPrompt("", replace(request, model=None, transport=None))
        self.app.push_screen(PromptLibrary(self.api, present), self._take_saved)

    def _take_saved(self, request: "PromptRequest | None") -> None:
        if request is None:
            return
        session = self._session
        settings = session.settings.recalled(request)
        session.settings = replace(settings, model=session.settings.model, transport=session.settings.transport)
        session.turns, session.editing = request.history, None
        self._write(request.prompt if request.tensors is None else request.tensors)
        if request.history and session.settings.mode_for(self.asked_model) is not Mode.CHAT:
            self.notify("Its earlier turns are not sent: this model is not asked by chat.", markup=False)
        self.show_told()

    @on(PromptAnswer.TimingsWanted)
    def _timings(self) -> None:
        from tui.screens.prompt_timings import PromptTimings

        if self._session.shown is not None:
            self.app.push_screen(PromptTimings(self._session.shown))

    def _compare(self, first: PromptRun, second: PromptRun) -> None:
        from tui.screens.prompt_comparison import PromptComparison

        self.app.push_screen(PromptComparison(first, second, lambda: self.cancel(first)))

    # What comes from the engine

    def grown(self, run: PromptRun, fresh: list[Piece] | None) -> None:
        if fresh is None:
            self._conversation.show(run)
        else:
            self._conversation.grow(fresh)
        self._show_status()

    def ended(self, run: PromptRun) -> None:
        if run in self._session.runs:
            self._ended_at = time.monotonic()
            self.show_history()
            if run is self._session.shown and not run.timing.total_s:
                self._show_answer()  # it never was on its way: nothing has been said of it
            self.show_told()
        self._show_status()

    # What is shown

    @property
    def _conversation(self) -> PromptAnswer:
        return self.query_one(PromptAnswer)

    @property
    def _editor(self) -> PromptEditor:
        return self.query_one(PromptEditor)

    def _load(self, session: PromptSession) -> None:
        self._session = session
        self._kept = ()
        self._write(session.draft)
        self._show_run()

    def _write(self, text: str) -> None:
        self._editor.text = text
        self._editor.move_cursor(self._editor.document.end)

    def offer_came(self) -> None:
        self._write_example()
        self.show_told()

    def _write_example(self) -> None:
        """Inputs of a model that takes no text, in an editor that is empty."""
        asked = self.asked_model
        if asked and not asked.styles and not self._editor.text:
            self._write(asked.example)

    def _show_run(self) -> None:
        self.show_history()
        self._show_answer()
        self.show_told()

    def show_history(self) -> None:
        session = self._session
        earlier = session.without_known(self._kept)
        self.history.show([*session.runs, *earlier], session.shown)
        self._show_status()

    def _show_answer(self) -> None:
        self._conversation.show(self._session.shown)
        self._show_status()

    def _tick(self) -> None:
        if self.display:
            self._show_status()

    def show_told(self) -> None:
        session = self._session
        self._editor.ask_for_inputs(tensors=session.settings.mode_for(self.asked_model) is Mode.TENSORS)
        start = start_of(self._model, session.settings.transport)
        self.query_one("#told", Static).update(told_line(session, self.asked_model, session.offer.said(start)))
        self.refresh_bindings()

    def _show_status(self) -> None:
        run = self._session.shown
        growing = run is not None and run.result is None
        if self._clock is not None:
            (self._clock.resume if growing else self._clock.pause)()
        said = status_line(
            run, obstacle(self._model), self.size.width - 2, earlier=bool(self._session.runs or self._kept)
        )
        status, lines = self.query_one("#status", Static), said.plain.count("\n")
        # What is as high as before is only painted: laying out the screen costs more than all else that grows.
        status.update(said, layout=not growing or lines != self._status_lines)
        self._status_lines = lines
        self.query_one(GapStrip).show(run.gaps_s if run else (), growing=growing)
