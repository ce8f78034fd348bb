"""Two runs of a prompt side by side: what was answered, and how long it took."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from engine.prompt_record import PromptDifference
from engine.text import clean_line
from tui import format as write
from tui.screens.prompt_dialog import PromptDialog
from tui.widgets.prompt_comparing import parting, requests_apart
from tui.widgets.prompt_reasoning import Following, marked
from tui.widgets.prompt_runs import PromptRun
from tui.widgets.prompt_status import lateness, progress, seconds, silence
from tui.widgets.streamed_text import StreamedText

REFRESH_S = 0.1
SAME = 0.02
"""A smaller change of a figure is none"""
NEEDED = 40
"""Cells for titles, changes and what is between them"""
TITLES = 17
ROOMY = 30
SPARED = ("first byte", "gaps, p50", "longest gap", "tokens in")
"""Left out of a screen of fewer lines: the answers need them"""


class PromptComparison(PromptDialog[None]):
    DEFAULT_CSS = """
    #comparison-box { width: 100%; max-width: 100%; height: 100%; }
    #comparison-figures, #comparison-words { height: auto; }
    #comparison-words { color: $text-muted; }
    #comparison-answers { height: 1fr; border-top: solid $border-blurred; }
    #comparison-answers StreamedText { width: 1fr; height: 100%; background: $surface; }
    #comparison-second { border-left: vkey $border-blurred; padding: 0 0 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "close", id="comparison.leave", tooltip="Cancel what is under way, or close"),
        Binding("q", "dismiss", "close", show=False, id="comparison.close", tooltip="Close; prompts under way go on"),
        Binding("left,right", "app.focus_next", "other answer", show=False, tooltip="Go to the other answer"),
    ]

    def __init__(self, first: PromptRun, second: PromptRun, cancel: Callable[[], None]) -> None:
        """The runs may still be under way. `cancel`: ends both."""
        super().__init__()
        self._runs = (first, second)
        self._cancel = cancel
        self._shown = ["", ""]
        self._following = [Following(), Following()]

    def compose(self) -> ComposeResult:
        with Vertical(id="comparison-box", classes="box") as box:
            box.border_title = "Side by side"
            yield Static(id="comparison-figures", markup=False)
            yield Static(id="comparison-words", markup=False)
            with Horizontal(id="comparison-answers"):
                yield StreamedText(id="comparison-first")
                yield StreamedText(id="comparison-second")

    def on_resize(self) -> None:
        self._show()

    def on_mount(self) -> None:
        self._show()
        self.query_one("#comparison-first").focus()
        if self._under_way:
            self._clock = self.set_interval(REFRESH_S, self._tick)

    @property
    def _under_way(self) -> bool:
        return any(run.result is None for run in self._runs)

    def _tick(self) -> None:
        self._show()
        if not self._under_way:
            self._clock.stop()

    def action_leave(self) -> None:
        if self._under_way:
            self._cancel()
        else:
            self.dismiss()

    def _show(self) -> None:
        first, second = self._runs
        box = self.query_one("#comparison-box")
        box.border_subtitle = "escape cancels both" if self._under_way else "escape closes"
        self.query_one("#comparison-figures", Static).update(self._figures())
        words = requests_apart(first, second)
        if not self._under_way:
            said = (parting(first.text, second.text).words, words, lateness(first, second))
            words = " ".join(part for part in said if part)
        self.query_one("#comparison-words", Static).update(words)
        self._grow(0, "#comparison-first")
        self._grow(1, "#comparison-second")

    def _grow(self, index: int, where: str) -> None:
        run, shown, view = self._runs[index], self._shown[index], self.query_one(where, StreamedText)
        text = run.text
        if not text.startswith(shown):
            view.clear()
            shown, self._following[index] = "", Following()
        fresh = self._following[index].feed(text[len(shown) :])
        if fresh is None:
            view.clear()
            fresh = marked(text)
        for kind, piece in fresh:
            view.append(piece, kind)
        if run.result and run.result.error and self._shown[index] is not run.result.text:
            view.append(run.result.error, "note")
        self._shown[index] = run.result.text if run.result else text
        if run.result and not self._under_way and not shown:
            view.show_start()

    def _figures(self) -> Table:
        first, second = self._runs
        muted = Style(dim=True)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=TITLES)
        room = min(max((self.size.width - NEEDED) // 2, 10), 30)
        for _ in range(2):
            table.add_column(justify="right", no_wrap=True, overflow="ellipsis", width=room)
        table.add_column(no_wrap=True)
        table.add_row("", *(Text(clean_line(run.deployment), style="bold") for run in self._runs), "")
        if any(run.what for run in self._runs):
            table.add_row("", *(Text(_end(clean_line(run.what), room), style=muted) for run in self._runs), "")
        if self.size.height >= ROOMY or first.deployment == second.deployment:
            table.add_row("sent", *(Text(_sent(run), style=muted) for run in self._runs), "")
        table.add_row("ended by", ended(first), ended(second), "")
        for one in _differences(first, second):
            if self.size.height < ROOMY and one.title in SPARED:
                continue
            if one.unit and (one.first is not None or one.second is not None):
                table.add_row(one.title, _written(one.first, one.unit), _written(one.second, one.unit), changed(one))
        return table


def _end(text: str, most: int) -> str:
    """Its end, which tells one program or image from another."""
    return text if len(text) <= most else f"…{text[1 - most :]}"


def _differences(first: PromptRun, second: PromptRun) -> Sequence[PromptDifference]:
    from engine.prompts.difference import differences

    return differences(first.so_far, second.so_far)


def ended(run: PromptRun) -> str:
    return (run.result.ended_by or run.look.word) if run.result else silence(run) or progress(run)


def _sent(run: PromptRun) -> str:
    return "–" if run.timing.total_s is None else write.moment(run.at)


def changed(one: PromptDifference) -> str:
    if one.change is None:
        return ""
    if abs(one.change) < SAME:
        return "same"
    return f"{one.change:+.0%}".replace("%", " %")


def _written(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return seconds(value) if unit == "s" else f"{value:,.0f}" if unit == "tokens" else f"{value:.1f} {unit}"
