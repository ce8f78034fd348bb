"""The prompts that were sent to a deployment, from here and earlier, newest first, with what came of each."""

from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static

from engine.text import clean_line
from tui import format as write
from tui.widgets.glyphs import cut
from tui.widgets.prompt_runs import PromptRun
from tui.widgets.prompt_status import rate, seconds

TITLES = f"{'sent':<7}{'first':>8} {'tok/s':>6} {'total':>7}  prompt"
NAME_CELLS = 14
ABOUT = "~"
"""Before figures that may be wrong, as this machine was busy"""
DAY_S = 86_400


class HistoryList(OptionList):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "ask('recall')", "recall", id="playground.recall", tooltip="In the history: edit it again"),
        Binding("space", "ask('mark')", "mark", id="playground.mark", tooltip="In the history: mark it, or not"),
        Binding(
            "c",
            "ask('compare')",
            "compare",
            id="playground.compare",
            tooltip="In the history: side by side with the marked one",
        ),
        Binding("slash", "ask('filter')", "filter", id="playground.filter", tooltip="In the history: by its words"),
        Binding(
            "a",
            "ask('scope')",
            "all models",
            id="playground.scope",
            tooltip="In the history: of all deployments, or of this one",
        ),
        Binding("down,j", "cursor_down", "down", show=False, tooltip="In the history: go to the next older prompt"),
        Binding("up,k", "cursor_up", "up", show=False, tooltip="In the history: go to the next newer prompt"),
    ]

    class Asked(Message):
        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def action_ask(self, what: str) -> None:
        self.post_message(self.Asked(what))


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

    class Compared(Looked):
        """A prompt shall be shown beside the marked one."""

        def __init__(self, marked: PromptRun, run: PromptRun) -> None:
            super().__init__(run)
            self.marked = marked

    class ScopeAsked(Message):
        """Those of all deployments are wanted, or no longer."""

    DEFAULT_CSS = """
    PromptHistory {
        & > Static { color: $text-muted; height: 1; text-wrap: nowrap; padding: 0 0 0 1; }
        & > OptionList { height: 1fr; text-wrap: nowrap; text-overflow: ellipsis; scrollbar-size-vertical: 1; }
        & > Input { display: none; background: $panel; }
        &.-filtering > Input { display: block; }
        &.-filtering > #history-titles { display: none; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: tuple[PromptRun, ...] = ()
        self._listed: tuple[PromptRun, ...] = ()
        self._shown: PromptRun | None = None
        self._marked: PromptRun | None = None
        self.everywhere = False
        """Those of all deployments are listed"""
        self.trouble = ""
        """Why earlier ones are missing; or that they are being read"""

    def compose(self) -> ComposeResult:
        words = Input(placeholder="words of the prompt or the answer: enter keeps, escape ends", compact=True)
        words.cursor_blink = False
        yield words
        yield Static(TITLES, id="history-titles", markup=False)
        yield HistoryList(compact=True, markup=False)
        yield Static(id="history-note", markup=False)

    @property
    def list(self) -> HistoryList:
        return self.query_one(HistoryList)

    @property
    def words(self) -> Input:
        return self.query_one(Input)

    def show(self, runs: Iterable[PromptRun], shown: PromptRun | None) -> None:
        """Rebuilds the list, newest first, with the cursor on the prompt that is shown."""
        self._runs, self._shown = tuple(sorted(runs, key=lambda run: run.at, reverse=True)), shown
        self._show()
        if self.list.has_focus:
            self._have_cursor()

    def enter(self) -> None:
        """Keys go to the list from now on."""
        self.list.focus()
        self._have_cursor()

    def _have_cursor(self) -> None:
        if self._listed and self.list.highlighted is None:
            self.list.highlighted = 0

    def _show(self) -> None:
        words = self.words.value.lower().split()
        self._listed = tuple(run for run in self._runs if not words or _has(run, words))
        none = "No prompt has these words" if self._runs else "No prompts yet"
        with self.prevent(OptionList.OptionHighlighted):
            self.list.set_options(
                [self._row(run) for run in self._listed] or [Content.styled(none, "$foreground-muted")],
            )
            self.list.highlighted = self._listed.index(self._shown) if self._shown in self._listed else None
        count = f"{len(self._listed)} of {len(self._runs)} have “{clean_line(self.words.value)}”" if words else ""
        note = self.query_one("#history-note", Static)
        note.update("  ".join(part for part in (count, self.trouble) if part))
        note.display = bool(count or self.trouble)

    def _row(self, run: PromptRun) -> Content:
        timing, look = run.timing, run.look
        total = seconds(timing.total_s) if run.result else "…"
        mark = "▸" if run is self._marked else " "
        when = write.clock(run.at)[:5] if write.now() - run.at < DAY_S else write.moment(run.at)[5:10]
        name = f"{cut(clean_line(run.deployment), NAME_CELLS)} " if self.everywhere else ""
        about = ABOUT if timing.late_s is not None else ""
        first = "–" if timing.first_token_s is None else f"{about}{seconds(timing.first_token_s)}"
        decoding = "–" if not run.takes_text or timing.tokens_per_s is None else f"{about}{rate(timing)}"
        return Content.assemble(
            f"{mark}{when} ",
            (look.symbol, f"${look.colour}"),
            f"{first:>8} {decoding:>6} {total:>7}  ",
            f"{name}{clean_line(run.prompt[:200])}",
        )

    # -- keys ---------------------------------------------------------------------------------------------------------

    def on_history_list_asked(self, event: HistoryList.Asked) -> None:
        event.stop()
        run = self._at(self.list.highlighted)
        if event.what == "scope":
            self.everywhere = not self.everywhere
            self.post_message(self.ScopeAsked())
        elif event.what == "filter":
            self.add_class("-filtering")
            self.words.focus()
        elif run is None:
            self.notify("Put the cursor on a prompt first.", severity="warning", markup=False)
        elif event.what == "recall":
            self.post_message(self.Recalled(run))
        elif event.what == "mark":
            self._marked = None if run is self._marked else run
            self._shown = run
            self._show()
        elif self._marked is None or self._marked is run:
            self.notify("Mark the other prompt with space first, then c on this one.", severity="warning", markup=False)
        else:
            self.post_message(self.Compared(self._marked, run))

    @property
    def filtering(self) -> bool:
        return self.has_class("-filtering")

    def end_filter(self) -> None:
        """Everything is listed again."""
        self.words.value = ""
        self.remove_class("-filtering")
        self.list.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not self.words.value:
            self.remove_class("-filtering")
        self.enter()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        run = self._at(event.option_index)
        if run is not None:
            self._shown = run
            self.post_message(self.Looked(run))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.post_message(self.Chosen())

    def _at(self, index: int | None) -> PromptRun | None:
        return self._listed[index] if index is not None and index < len(self._listed) else None


def _has(run: PromptRun, words: list[str]) -> bool:
    text = f"{run.prompt}\n{run.text}\n{run.deployment}".lower()
    return all(word in text for word in words)
