"""Saved prompts: one is chosen, its blanks are filled in, or the present prompt is saved."""

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from engine.api import EngineApi
from engine.errors import EngineError
from engine.inference.prompt import PromptRequest
from engine.prompt_record import SavedPrompt
from engine.text import clean, clean_line
from tui.screens.prompt_blanks import PromptBlanks
from tui.screens.prompt_dialog import PromptDialog
from tui.screens.prompt_saving import PromptSaving
from tui.widgets.page import Page
from tui.widgets.prompt_settings import sampling_told

NAME_CELLS = 16
"""Of a longer name the summary does not stand in line"""
NONE_YET = "No prompt is saved yet: s saves the present one."


class PromptLibrary(PromptDialog[PromptRequest]):
    """Ends with the request of the prompt that was chosen, its blanks filled in, or with None."""

    DEFAULT_CSS = """
    #library-box {
        width: 90%; max-width: 130; height: 90%; border: round $accent; background: $surface; padding: 0 1;
    }
    #library-says { height: auto; max-height: 3; }
    #library-prompts { height: 1fr; }
    #library-list { width: 2fr; height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; background: $surface; }
    #library-list:focus { background-tint: $foreground 0%; }
    #library-list > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: bold; }
    #library-preview { width: 3fr; height: 1fr; border-left: vkey $border-blurred; padding: 0 0 0 1; }
    PromptLibrary.-narrow #library-prompts { layout: vertical; }
    PromptLibrary.-narrow #library-list { width: 1fr; }
    PromptLibrary.-narrow #library-preview {
        width: 1fr; border-left: none; border-top: solid $border-blurred; padding: 0;
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (90, "-wide")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "close", id="library.close", tooltip="Close the saved prompts"),
        Binding("s", "save", "save", id="library.save", tooltip="Save the present prompt under a name"),
        Binding("r", "read", "read again", id="library.read", tooltip="Read the files again"),
        Binding("j", "move('down')", "down", show=False),
        Binding("k", "move('up')", "up", show=False),
    ]

    def __init__(self, api: EngineApi, present: SavedPrompt) -> None:
        """`present`: what would be saved, without a name."""
        super().__init__()
        self._api = api
        self._present = present
        self._prompts: Sequence[SavedPrompt] = ()

    def compose(self) -> ComposeResult:
        with Vertical(id="library-box", classes="box") as box:
            box.border_title = "Saved prompts"
            box.border_subtitle = "enter takes it · s saves the present one · escape closes"
            yield Static("Reading …", id="library-says", markup=False)
            with Horizontal(id="library-prompts"):
                yield OptionList(id="library-list", compact=True, markup=False)
                with Page(id="library-preview", can_focus=False):
                    yield Static(id="library-text", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()
        self.action_read()

    def action_read(self) -> None:
        self._read()

    @work(thread=True, exclusive=True)
    def _read(self) -> None:
        try:
            result: Sequence[SavedPrompt] | EngineError = self._api.saved_prompts()
        except EngineError as error:
            result = error
        self.app.call_from_thread(self._take, result)

    def _take(self, result: Sequence[SavedPrompt] | EngineError) -> None:
        if not self.is_mounted:
            return
        if isinstance(result, EngineError):
            self._say(f"▲ {result}")
            return
        listed = self.query_one(OptionList)
        before = self._at(listed.highlighted)
        self._prompts = result
        self._say("" if result else NONE_YET)
        names = [prompt.name for prompt in result]
        width = min(max(map(len, names), default=0), NAME_CELLS)
        listed.set_options([_row(prompt, width) for prompt in result])
        listed.highlighted = (names.index(before.name) if before and before.name in names else 0) if result else None

    def _say(self, sentence: str) -> None:
        says = self.query_one("#library-says", Static)
        says.update(sentence)
        says.display = bool(sentence)

    def _at(self, index: int | None) -> SavedPrompt | None:
        return self._prompts[index] if index is not None and index < len(self._prompts) else None

    @on(OptionList.OptionHighlighted)
    def _look(self, event: OptionList.OptionHighlighted) -> None:
        prompt = self._at(event.option_index)
        self.query_one("#library-text", Static).update(preview(prompt) if prompt else "")
        self.query_one("#library-preview").scroll_home(animate=False)

    def action_move(self, way: str) -> None:
        listed = self.query_one(OptionList)
        (listed.action_cursor_down if way == "down" else listed.action_cursor_up)()

    @on(OptionList.OptionSelected)
    def _choose(self, event: OptionList.OptionSelected) -> None:
        from engine.prompts.saved import blanks

        prompt = self._at(event.option_index)
        if prompt is None:
            return
        asked = blanks(prompt.request)
        if asked:
            self.app.push_screen(PromptBlanks(prompt, asked), self._filled)
        else:
            self.dismiss(prompt.request)

    def _filled(self, request: PromptRequest | None) -> None:
        if request is not None:
            self.dismiss(request)

    def action_save(self) -> None:
        present = self._present
        if not (present.request.prompt or present.request.tensors or "").strip():
            self._say("▲ There is nothing to save: type the prompt first, in the playground.")
            return
        at = self._at(self.query_one(OptionList).highlighted)
        name = at.name if at and not at.shipped and at.request.prompt == present.request.prompt else ""
        own = {prompt.name for prompt in self._prompts if not prompt.shipped}
        self.app.push_screen(PromptSaving(self._api, replace(present, name=name), own), self._saved)

    def _saved(self, words: str | None) -> None:
        if words:
            self.notify(words, markup=False)
            self.action_read()

    def action_close(self) -> None:
        self.dismiss(None)


def _row(prompt: SavedPrompt, width: int) -> Content:
    shipped = ("  shipped", "$foreground-muted") if prompt.shipped else ""
    return Content.assemble((prompt.name.ljust(width), "bold"), f"  {clean_line(prompt.summary)}", shipped)


def preview(prompt: SavedPrompt) -> Content:
    """All that the file says."""
    request = prompt.request
    parts: list[tuple[str, str] | str] = [f"{clean_line(prompt.summary)}\n\n"] if prompt.summary else []

    def add(title: str, text: str) -> None:
        if text:
            parts.extend([(f"{title}\n", "$foreground-muted"), f"{clean(text)}\n\n"])

    add("system", request.system)
    for turn in request.history:
        add(turn.role.value, turn.text)
    add("prompt", request.prompt)
    add("tensors", request.tensors or "")
    asked = [request.style.value] if request.style else []
    if request.lora:
        asked.append(f"lora {request.lora}")
    add("options", " · ".join([*asked, *sampling_told(request.sampling)]))
    add("file", str(prompt.path) if prompt.path else "")
    return Content.assemble(*parts)
