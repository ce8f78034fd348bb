"""The blanks of a saved prompt, filled in before it is taken."""

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Static

from engine.errors import EngineError
from engine.inference.prompt import PromptRequest
from engine.prompt_record import SavedPrompt
from tui.screens.prompt_dialog import PromptDialog
from tui.widgets.prompt_editor import PromptEditor


class PromptBlanks(PromptDialog[PromptRequest]):
    """Ends with the request as it is to be sent, or with None."""

    DEFAULT_CSS = """
    #blanks-form { height: auto; max-height: 60vh; }
    #blanks-form Horizontal { height: auto; }
    #blanks-form PromptEditor { width: 1fr; max-height: 6; }
    #blanks-says { height: auto; color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "no", "leave", id="blanks.no", tooltip="Do not take the prompt"),
    ]

    def __init__(self, prompt: SavedPrompt, blanks: Mapping[str, str | None]) -> None:
        """`blanks`: by name, with the text that is taken when nothing is typed, if any."""
        super().__init__()
        self._prompt = prompt
        self._blanks = blanks

    def compose(self) -> ComposeResult:
        with Vertical(id="blanks-box", classes="box") as box:
            box.border_title = self._prompt.name
            box.border_subtitle = "enter goes on · ctrl+j breaks a line"
            with VerticalScroll(id="blanks-form", can_focus=False):
                for name, default in self._blanks.items():
                    field = PromptEditor(id=f"blank-{name}")
                    field.placeholder = default or ""
                    yield Horizontal(Static(name, classes="label", markup=False), field)
            yield Static("", id="blanks-says", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Take it (enter)", variant="primary", id="yes", compact=True)
                yield Button("Cancel (escape)", id="no", compact=True)

    def on_mount(self) -> None:
        self.query(PromptEditor).first().focus()

    def on_prompt_editor_sent(self, event: PromptEditor.Sent) -> None:
        """The next blank, and after the last the prompt."""
        event.stop()
        fields = list(self.query(PromptEditor))
        if self.focused is not fields[-1]:
            self.focus_next(PromptEditor)
        else:
            self._go()

    def on_prompt_editor_recalled(self, event: PromptEditor.Recalled) -> None:
        event.stop()
        self.focus_previous(PromptEditor)

    @on(Button.Pressed, "#yes")
    def _go(self) -> None:
        from engine.prompts.saved import fill

        typed = {name: self.query_one(f"#blank-{name}", PromptEditor).text for name in self._blanks}
        try:
            request = fill(self._prompt, {name: value for name, value in typed.items() if value})
        except EngineError as error:
            self.query_one("#blanks-says", Static).update(f"▲ {error}")
            empty = [name for name, default in self._blanks.items() if default is None and not typed[name]]
            self.query_one(f"#blank-{empty[0]}" if empty else "#yes").focus()
        else:
            self.dismiss(request)

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)
