"""The prompts that were sent to a deployment, newest first, with what came of each."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static

from engine.text import clean_line
from tui.widgets.prompt_runs import PromptRun
from tui.widgets.prompt_status import rate, seconds


class HistoryList(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "recall", "recall", id="playground.recall", tooltip="In the history: edit the prompt again"),
        Binding("down,j", "cursor_down", "down", show=False, tooltip="In the history: go to the next older prompt"),
        Binding("up,k", "cursor_up", "up", show=False, tooltip="In the history: go to the next newer prompt"),
    ]

    def action_recall(self) -> None:
        if isinstance(self.parent, PromptHistory):
            self.parent.recall()


class PromptHistory(Vertical):
    class Looked(Message):
        """The cursor is on a prompt."""

        def __init__(self, run: PromptRun) -> None:
            super().__init__()
            self.run = run

    class Chosen(Message):
        """Enter was pressed on a prompt."""

    class Recalled(Looked):
        """A prompt shall be edited again."""

    DEFAULT_CSS = """
    PromptHistory {
        & > Static { color: $text-muted; height: 1; text-wrap: nowrap; padding: 0 0 0 2; }
        & > OptionList { height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; scrollbar-size-vertical: 1; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: tuple[PromptRun, ...] = ()

    def compose(self) -> ComposeResult:
        yield Static(f"{'outcome':<9} {'first':>7} {'tok/s':>6} {'total':>7}  prompt")
        yield HistoryList(compact=True, markup=False)

    @property
    def list(self) -> HistoryList:
        return self.query_one(HistoryList)

    def show(self, runs: Iterable[PromptRun], shown: PromptRun | None) -> None:
        """Rebuilds the list, with the cursor on the prompt that is shown."""
        self._runs = tuple(runs)
        with self.prevent(OptionList.OptionHighlighted):
            self.list.set_options(
                [_row(run) for run in self._runs] or [Content.styled("No prompts yet", "$text-muted")]
            )
            self.list.highlighted = self._runs.index(shown) if shown in self._runs else None

    def recall(self) -> None:
        run = self._at(self.list.highlighted)
        if run is not None:
            self.post_message(self.Recalled(run))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        run = self._at(event.option_index)
        if run is not None:
            self.post_message(self.Looked(run))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen())

    def _at(self, index: int | None) -> PromptRun | None:
        return self._runs[index] if index is not None and index < len(self._runs) else None


def _row(run: PromptRun) -> Content:
    timing, look = run.timing, run.look
    total = seconds(timing.total_s) if run.result else "…"
    return Content.assemble(
        (f"{look.symbol} {look.word:<9}", f"${look.colour}"),
        f" {seconds(timing.first_token_s):>7} {rate(timing):>6} {total:>7}  ",
        clean_line(run.request.prompt[:200]),
    )
