"""Each figure of a prompt, with what it means."""

from collections.abc import Iterator
from typing import ClassVar

from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from engine.load_result import LEAST_FOR_P99
from engine.text import clean_line
from tui import format as write
from tui.screens.prompt_dialog import PromptDialog
from tui.widgets.noted_rows import NotedRow, NotedRows
from tui.widgets.page import Page
from tui.widgets.prompt_runs import PromptRun
from tui.widgets.prompt_settings import sampling_told
from tui.widgets.prompt_status import progress, rate, seconds, silence

REFRESH_S = 0.5


class PromptTimings(PromptDialog[None]):
    DEFAULT_CSS = """
    #timings-box {
        width: 90%; max-width: 130; height: auto; max-height: 100%;
        border: round $accent; background: $surface; padding: 0 1;
    }
    #timings-body { height: auto; max-height: 90vh; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,t", "dismiss", "close", id="timings.close", tooltip="Close the figures"),
    ]

    def __init__(self, run: PromptRun) -> None:
        super().__init__()
        self._run = run

    def compose(self) -> ComposeResult:
        with Vertical(id="timings-box", classes="box") as box:
            box.border_title = "Timings"
            box.border_subtitle = "escape closes"
            with Page(id="timings-body"):
                yield Static(id="timings-text", markup=False)

    def on_mount(self) -> None:
        self._show()
        if self._run.result is None:
            self.set_interval(REFRESH_S, self._show)

    def _show(self) -> None:
        note = self.app.theme_variables.get("text-muted", "")
        muted = Style.parse(note) if note.startswith("#") else Style(dim=True)
        self.query_one("#timings-text", Static).update(NotedRows(list(rows(self._run)), muted, right=(1,)))


def rows(run: PromptRun) -> Iterator[NotedRow]:
    timing, result = run.timing, run.result
    connection = seconds(timing.connected_s) if timing.connected_s is not None else "open already" if result else "–"
    yield _row("connection", connection, "Opening it, before the request was sent; part of no other figure.")
    yield _row("first byte", seconds(timing.first_byte_s), "From sending the request to the first byte of the answer.")
    if run.takes_text:
        yield _row("first token", seconds(timing.first_token_s), "TTFT: to the first text, reasoning included.")
        yield _row("last token", seconds(timing.last_token_s), "To the last text, or to the word that it has ended.")
    else:
        yield _row("first outputs", seconds(timing.first_token_s), "To the first response.")
    yield _row("total", seconds(timing.total_s), "Until the stream was closed.")
    if timing.waited_s is not None:
        why = "Others had the processor so long: what came meanwhile may be stamped too late by as much."
        yield _row("late", f"≤ {seconds(timing.waited_s)}", why)
    yield from (
        _tokens(run) if run.takes_text else [_row("responses", _count(timing.tokens_out), "Outputs of the model.")]
    )
    yield from _gaps(run)
    ended = (result.ended_by or ("not said" if run.takes_text else "")) if result else silence(run) or progress(run)
    if ended:
        yield _row("ended by", ended, _WHY.get(ended, ""))
    if result:
        way = ", ".join(part for part in (result.transport or "", result.style or "") if part)
        yield _row("asked", clean_line(result.model) or "–", f"{way}{'; ' if way else ''}at {write.moment(run.at)}.")
    if run.takes_text:
        yield _row("with", "", " · ".join(sampling_told(run.request.sampling)))
    if run.what:
        yield _row("served by", "", f"{clean_line(run.deployment)}, {clean_line(run.what)}")


def _tokens(run: PromptRun) -> Iterator[NotedRow]:
    timing = run.timing
    yield _row("between tokens", seconds(timing.inter_token_s), "ITL: (last - first) / (tokens - 1), a mean.")
    yield _row("tokens/s", rate(timing), "While decoding: (tokens - 1) / (last - first); undefined below two tokens.")
    counted = "The server counted them." if timing.counted else "Not counted by the server"
    yield _row("tokens in", _count(timing.tokens_in), counted if timing.counted else f"{counted}.")
    out = counted if timing.counted else f"{counted}: each piece of text that is not empty counts as one."
    yield _row("tokens out", _count(timing.tokens_out), out)


def _gaps(run: PromptRun) -> Iterator[NotedRow]:
    from engine.load.statistics import digest

    gaps = digest(run.gaps_s)
    if not (gaps.n or run.takes_text):
        return
    pieces = "pieces of text as they came, which may hold several tokens" if run.takes_text else "responses"
    yield _row("gap p50", seconds(gaps.p50), f"Between {pieces}; linear interpolation; {gaps.n} gaps.")
    yield _row("gap p99", seconds(gaps.p99), f"The same; only from {LEAST_FOR_P99} gaps on.")
    place = f" before piece {run.gaps_s.index(gaps.most) + 2} of {gaps.n + 1}" if gaps.most is not None else ""
    yield _row("longest gap", seconds(gaps.most), f"The longest wait for more{place}.")


def _row(title: str, value: str, note: str) -> NotedRow:
    return NotedRow((title, value), note)


_WHY = {
    "stop": "The model ended it, or a stop text came.",
    "length": "max_tokens was reached, or the context was full.",
    "cancelled": "From here.",
    "not said": "The server gave no reason.",
}


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
