"""The conversation: its turns as they came, or with the answers rendered as Markdown; and what can be taken of it."""

import time
from typing import ClassVar

from rich.style import Style
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Resize
from textual.message import Message
from textual.strip import Strip

from engine.inference.prompt import Role
from engine.text import clean
from tui.widgets.log_copy import MANY_TAKE, sent_size
from tui.widgets.prompt_blocks import GrowingMarkdown
from tui.widgets.prompt_markdown import MarkdownText, Piece
from tui.widgets.prompt_reasoning import marked, told_apart, without_reasoning
from tui.widgets.prompt_runs import PromptRun
from tui.widgets.streamed_text import StreamedText

LEAST_S = 0.08
"""Between two renderings of a growing answer"""
SHARE = 4
"""A growing answer is rendered for at most one part in so many of the time"""


class PromptAnswer(Vertical):
    DEFAULT_CSS = """
    PromptAnswer {
        & > StreamedText, & > MarkdownText { height: 1fr; padding: 0 1; }
        & > MarkdownText { display: none; }
        &.-markdown > MarkdownText { display: block; }
        &.-markdown > StreamedText { display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "markdown", "markdown", id="playground.markdown", tooltip="In the answer: as Markdown, or raw"),
        Binding("y", "copy", "copy", id="playground.copy", tooltip="In the answer: copy it"),
        Binding("Y", "copy_all", "copy all", id="playground.copy_all", tooltip="In the answer: copy the conversation"),
        Binding("t", "timings", "timings", id="playground.timings", tooltip="In the answer: each figure, explained"),
    ]

    class TimingsWanted(Message):
        """The operator wants to know what the figures mean."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._run: PromptRun | None = None
        self._rendering = False
        self._drawn = GrowingMarkdown()
        self._rendered_at = 0.0
        self._cost_s = 0.0
        self._again = False
        """What was rendered is not the latest"""

    def compose(self) -> ComposeResult:
        yield StreamedText(id="answer")
        yield MarkdownText(id="answer-markdown")

    @property
    def raw(self) -> StreamedText:
        return self.query_one(StreamedText)

    @property
    def markdown(self) -> MarkdownText:
        return self.query_one(MarkdownText)

    @property
    def is_markdown(self) -> bool:
        return self.has_class("-markdown")

    def show(self, run: PromptRun | None) -> None:
        """With the turns before it; one that has ended from its prompt on, as far as the answer is in view, too."""
        self._run = run
        raw, asked, replied = self.raw, 0, 0
        raw.clear()
        if run is not None:
            run.take()
            for kind, text in pieces(run, apart=False):
                if kind == "prompt":
                    apart = bool(raw.text)
                    asked = raw.rows + apart
                    raw.append(f"\n{text}" if apart else text, kind)
                    replied = raw.rows
                else:
                    raw.append(text, kind)
            if run.result is not None:
                raw.show_row(max(asked, replied - raw.size.height // 2))
        self._render_markdown()

    def grow(self, fresh: list[Piece]) -> None:
        """More of the answer has come, or its end."""
        for kind, text in fresh:
            self.raw.append(text, kind)
        run = self._run
        if run is not None and run.result is not None and run.result.error:
            self.raw.append(run.result.error, "note")
        self._render_markdown()

    def on_resize(self, event: Resize) -> None:
        self._render_markdown()

    # -- Markdown -----------------------------------------------------------------------------------------------------

    def _render_markdown(self) -> None:
        """Soon: one rendering at a time, and of a growing answer not more often than it can be afforded."""
        if not self.is_markdown or not self.is_mounted:
            return
        growing = self._run is not None and self._run.result is None
        wait = self._rendered_at + max(LEAST_S, self._cost_s * SHARE) - time.monotonic() if growing else 0.0
        if self._rendering or wait > 0:
            if not self._again and not self._rendering:
                self.set_timer(wait, self._render_late)
            self._again = True
            return
        self._again = False
        self._rendering = True
        markdown = self.markdown
        width = (markdown.size.width or self.size.width - 2) - 1
        looks = {
            kind: self.raw.get_component_rich_style(f"streamed-text--{kind}")
            for kind in ("prompt", "note", "reasoning")
        }
        styles = {kind: Style(color=one.color, bold=one.bold, italic=one.italic) for kind, one in looks.items()}
        self._make_markdown(pieces(self._run) if self._run else [], max(width, 10), styles, self._run)

    def _render_late(self) -> None:
        self._again = False
        self._render_markdown()

    @work(thread=True, group="markdown")
    def _make_markdown(self, what: list[Piece], width: int, styles: dict[str, Style], run: PromptRun | None) -> None:
        began = time.monotonic()
        strips = self._drawn.rendered(what, width, styles)
        self.app.call_from_thread(self._take_rendered, strips, run, time.monotonic() - began)

    def _take_rendered(self, strips: list[Strip], run: PromptRun | None, cost_s: float) -> None:
        self._rendering, self._rendered_at, self._cost_s = False, time.monotonic(), cost_s
        if run is self._run and self.is_mounted:
            markdown = self.markdown
            at_end = markdown.scroll_y >= markdown.max_scroll_y
            growing = run is not None and run.result is None
            markdown.show(strips, follow=growing and at_end)
        if self._again:
            self._render_late()

    def action_markdown(self) -> None:
        self.toggle_class("-markdown")
        shown = self.markdown if self.is_markdown else self.raw
        self.screen.set_focus(shown)
        self._again = False
        self._render_markdown()

    # -- taking it out ------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action == "markdown" or self._run is not None

    def action_copy(self) -> None:
        run = self._run
        self._copy(without_reasoning(run.text) if run else "")

    def action_copy_all(self) -> None:
        if self._run:
            said = (piece for piece in pieces(self._run) if piece[0] != "reasoning")
            self._copy("\n\n".join(f"{_SPEAKERS[kind]}: {text}" for kind, text in said))

    def _copy(self, text: str) -> None:
        if not text:
            words = "It has only reasoned so far: there" if self._run and self._run.reasons else "There"
            self.notify(f"{words} is no answer to copy.", severity="warning", markup=False)
            return
        self.app.copy_to_clipboard(text)
        words = f"Copied {len(text):,} characters, if the terminal allows it."
        if sent_size(text) > MANY_TAKE:
            words += f" Many terminals take no more than {MANY_TAKE * 3 // 4 // 1024} KiB."
        self.notify(words, markup=False)

    def action_timings(self) -> None:
        self.post_message(self.TimingsWanted())


_SPEAKERS = {"prompt": "user", "answer": "assistant", "note": "error"}


def pieces(run: PromptRun, *, apart: bool = True) -> list[Piece]:
    """The turns, the oldest first. `apart`: what the model said to itself is without its marks."""
    turns = run.request.history
    found = [("prompt" if turn.role is Role.USER else "answer", clean(turn.text)) for turn in turns]
    found.append(("prompt", clean(run.prompt)))
    if not run.takes_text:
        said: list[Piece] = [("answer", run.text)]
    elif apart:
        said = list(zip(("reasoning", "answer"), told_apart(run.text), strict=True))
    else:
        said = marked(run.text)
    found += [piece for piece in said if piece[1]]
    if run.result is not None and run.result.error:
        found.append(("note", run.result.error))
    return found
