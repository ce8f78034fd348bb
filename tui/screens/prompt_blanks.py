"""The blanks of a saved prompt, filled in before it is taken."""

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Input, Static

from engine.errors import EngineError
from engine.inference.prompt import PromptRequest
from engine.prompt_record import SavedPrompt
from tui.screens.prompt_dialog import PromptDialog


class PromptBlanks(PromptDialog[PromptRequest]):
    """Ends with the request as it is to be sent, or with None."""

    DEFAULT_CSS = """
    #blanks-form { height: auto; max-height: 60vh; }
    #blanks-form Horizontal { height: 1; }
    #blanks-form Input { width: 1fr; }
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
            with VerticalScroll(id="blanks-form", can_focus=False):
                for name, default in self._blanks.items():
                    field = Input(placeholder=default or "", id=f"blank-{name}", compact=True)
                    field.cursor_blink = False
                    yield Horizontal(Static(name, classes="label", markup=False), field)
            yield Static("", id="blanks-says", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Take it (enter)", variant="primary", id="yes", compact=True)
                yield Button("Cancel (escape)", id="no", compact=True)

    def on_mount(self) -> None:
        self.query(Input).first().focus()

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        """The next blank, and after the last the prompt."""
        fields = list(self.query(Input))
        if event.input is not fields[-1]:
            fields[fields.index(event.input) + 1].focus()
        else:
            self._go()

    @on(Button.Pressed, "#yes")
    def _go(self) -> None:
        from engine.prompts.saved import fill

        typed = {name: self.query_one(f"#blank-{name}", Input).value for name in self._blanks}
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
