"""The question under which name a prompt is saved."""

from collections.abc import Collection
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Static

from engine.api import EngineApi
from engine.errors import EngineError, Refused
from engine.prompt_record import SavedPrompt
from tui.screens.duplicate import objection_to
from tui.screens.prompt_dialog import PromptDialog


class PromptSaving(PromptDialog[str]):
    """Ends with what was done, in a sentence, or with None."""

    DEFAULT_CSS = """
    #saving-box {
        width: 90%; max-width: 76; height: auto; border: round $accent; background: $surface; padding: 0 1;
    }
    #saving-box .label { width: 1fr; }
    #saving-says { height: auto; margin: 1 0; color: $foreground-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "no", "leave", id="saving.no", tooltip="Save nothing"),
    ]

    def __init__(self, api: EngineApi, prompt: SavedPrompt, own: Collection[str]) -> None:
        """`own`: names of the operator's prompts, which can be written over."""
        super().__init__()
        self._own = own
        self._api = api
        self._prompt = prompt
        self._over = ""
        """The name that was said to be taken: entered again, it is written over"""
        self._working = False

    def compose(self) -> ComposeResult:
        with Vertical(id="saving-box", classes="box") as box:
            box.border_title = "save the prompt"
            yield Static("Name", classes="label")
            yield Input(self._prompt.name, id="saving-name", compact=True, select_on_focus=False)
            yield Static("What it is for", classes="label")
            yield Input(self._prompt.summary, id="saving-summary", compact=True, placeholder="may be left out")
            yield Static("", id="saving-says", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Save (enter)", variant="primary", id="yes", compact=True)
                yield Button("Cancel (escape)", id="no", compact=True)

    def on_mount(self) -> None:
        for field in self.query(Input):
            field.cursor_blink = False
        self.query_one("#saving-name").focus()
        self._check()

    @on(Input.Changed)
    def _check(self) -> None:
        if not self._working:
            objection = objection_to(self._typed_name, ())
            blanks = "{{name}} in it is a blank that is asked for when it is taken."
            self._say(f"▲ {objection}" if objection else f"It goes into your own folder of prompts. {blanks}")
            self.query_one("#yes", Button).disabled = bool(objection)

    @property
    def _typed_name(self) -> str:
        return self.query_one("#saving-name", Input).value.strip()

    def _say(self, sentence: str) -> None:
        self.query_one("#saving-says", Static).update(sentence)

    @on(Input.Submitted)
    @on(Button.Pressed, "#yes")
    def _go(self) -> None:
        name = self._typed_name
        if self._working or objection_to(name, ()):
            return
        self._working = True
        self._say("Saving …")
        summary = self.query_one("#saving-summary", Input).value.strip()
        self._save(replace(self._prompt, name=name, summary=summary), overwrite=name == self._over)

    @work(thread=True)
    def _save(self, prompt: SavedPrompt, *, overwrite: bool) -> None:
        try:
            path = self._api.save_prompt(prompt, overwrite=overwrite)
        except EngineError as error:
            self.app.call_from_thread(self._refused, prompt.name, error)
        else:
            self.app.call_from_thread(self._done, f"Saved as {path}.")

    def _done(self, words: str) -> None:
        if self.is_current:
            self.dismiss(words)

    def _refused(self, name: str, error: EngineError) -> None:
        self._working = False
        if isinstance(error, Refused) and name in self._own and name != self._over:
            self._over = name
            self._say(f"▲ {error.what} Enter once more writes over it; or type another name.")
        else:
            self._say(f"▲ {error}")

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)
