"""What is typed for a log: what to search for, what to show of it, and where to write it."""

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.widgets import Input
from textual.worker import get_current_worker

from engine.api import EngineApi
from tui import format as write
from tui.widgets.log_copy import write_log
from tui.widgets.log_filter import AllLines, LogFilter
from tui.widgets.log_pattern import compile_pattern
from tui.widgets.log_prompt import LogPrompt, Purpose
from tui.widgets.log_status import count_of
from tui.widgets.log_view import LogView
from tui.widgets.log_window import LogWindow
from tui.widgets.pane import Pane

if TYPE_CHECKING:
    from textual.timer import Timer

TYPING_S = 0.15
"""A filter is made when nothing more has been typed for so long"""
TOO_SLOW = "That pattern takes too long on this log, and was given up: avoid a repeat within a repeat, as in (a+)+."


class LogAsking(Pane):
    """A pane with a `LogView` and a `LogPrompt`."""

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._complaint = ""
        """What is wrong with what was typed"""
        self._typing: Timer | None = None
        self._save_all = False
        """The whole log is saved, though a filter hides some of it"""

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    @property
    def prompt(self) -> LogPrompt:
        return self.query_one(LogPrompt)

    @property
    def log_name(self) -> str:
        """Of the deployment whose log it is"""
        raise NotImplementedError

    def _complain(self, complaint: str) -> None:
        self._complaint = complaint
        self.view.post_message(LogWindow.Changed())

    def _ask(self, purpose: Purpose, value: str) -> None:
        self._complain("")
        self.prompt.ask(purpose, value)
        self.refresh_bindings()

    def _close_prompt(self) -> None:
        if self._typing:
            self._typing.stop()
        self.view.focus()
        self.prompt.close()
        self._complain("")
        self.refresh_bindings()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        self._complain("")
        if self._typing:
            self._typing.stop()
        if self.prompt.purpose is Purpose.SEARCH:
            self.view.search(self._pattern(event.value))
            self.refresh_bindings()
        elif self.prompt.purpose is Purpose.FILTER:
            self._typing = self.set_timer(TYPING_S, lambda: self._filter_by(event.value))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if self.prompt.purpose is Purpose.SAVE:
            self._save(event.value.strip())
            return
        if self.prompt.purpose is Purpose.FILTER:
            self._filter_by(event.value)
        complaint, purpose = self._complaint, self.prompt.purpose
        self._close_prompt()
        self._complain(complaint)
        if purpose is Purpose.SEARCH:
            self.view.find(-1)

    @on(LogWindow.PatternRefused)
    def _refused(self) -> None:
        self._complain(TOO_SLOW)
        self.refresh_bindings()

    def _pattern(self, text: str) -> re.Pattern[str] | None:
        try:
            return compile_pattern(text) if text else None
        except ValueError as error:
            self._complain(f"Not a regular expression: {error}.")
            return None

    # Searching and filtering

    def action_search(self) -> None:
        pattern = self.view.pattern
        self._ask(Purpose.SEARCH, pattern.pattern if pattern else "")

    def action_end_search(self) -> None:
        if self.prompt.purpose:
            self._close_prompt()
        self.view.search(None)
        self.refresh_bindings()

    def action_narrow(self) -> None:
        shown = self.view.filter
        self._ask(Purpose.FILTER, ("!" if shown.inverted else "") + (shown.pattern.pattern if shown.pattern else ""))

    def action_clear_filter(self) -> None:
        self._close_prompt()
        self.view.set_filter(LogFilter())
        self.refresh_bindings()

    def _filter_by(self, text: str) -> None:
        inverted = text.startswith("!")
        pattern = self._pattern(text.removeprefix("!"))
        if pattern or not self._complaint:
            self.view.set_filter(LogFilter(self.view.filter.level, pattern, inverted=bool(pattern) and inverted))
            self.refresh_bindings()

    # Saving

    def action_save(self) -> None:
        self._save_all = False
        self._ask(Purpose.SAVE, f"{self.log_name}-{datetime.fromtimestamp(write.now()):%Y%m%d-%H%M%S}.log")
        self._say_what_is_saved()

    def action_save_scope(self) -> None:
        self._save_all = not self._save_all
        self._say_what_is_saved()

    def _say_what_is_saved(self) -> None:
        lines, view = self.view.lines, self.view
        if not lines:
            return
        every = count_of(AllLines(lines.feed).count)
        if not view.filter:
            self.prompt.say(f"save {every} as")
        elif self._save_all:
            self.prompt.say(f"save all {every} (↑ the {lines.count:,} shown) as")
        else:
            self.prompt.say(f"save the {lines.count:,} shown (↑ all {every}) as")

    def _save(self, name: str) -> None:
        lines = self.view.lines
        if not name:
            self._complain("Type the name of a file.")
        elif lines:
            self._write(Path(name).expanduser(), AllLines(lines.feed) if self._save_all else lines.as_of_now())

    @work(thread=True, exclusive=True, group="save")
    def _write(self, path: Path, lines: AllLines) -> None:
        worker = get_current_worker()
        try:
            count = write_log(path, lines, times=bool(self.view.times.cells), going_on=lambda: not worker.is_cancelled)
        except FileExistsError:
            trouble = f"{path} exists already, and is left as it is: type another name."
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            trouble = f"{path} cannot be written: {reason}. Type the name of a file where you may write."
        else:
            trouble = ""
        if not worker.is_cancelled:
            self.app.call_from_thread(self._saved, trouble or f"Saved {count_of(count)} to {path}.", done=not trouble)

    def _saved(self, words: str, *, done: bool) -> None:
        if not self.is_mounted:
            return
        if not done:
            self._complain(words)
            return
        if self.prompt.purpose is Purpose.SAVE:
            self._close_prompt()
        self.notify(words, markup=False)
