"""The log of the selected model: a status line, the log, and a line to type in when it is asked for."""

import time
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from engine.api import EngineApi, LogFeed
from engine.freshness import Freshness
from engine.log_line import LogMark, MarkKind
from engine.snapshot import Model, Snapshot
from tui.widgets.log_asking import LogAsking
from tui.widgets.log_copy import MOST_COPIED, said
from tui.widgets.log_filter import LEVELS, LogFilter
from tui.widgets.log_prompt import LogPrompt, Purpose
from tui.widgets.log_status import status
from tui.widgets.log_times import Times
from tui.widgets.log_view import LogView
from tui.widgets.log_window import LogWindow

TAIL = 100_000
NO_MODEL = "No model selected."
NOT_STARTED = "Not started yet: press enter to start it."
NOTICE_S = 3.0


class LogsPane(LogAsking):
    DEFAULT_CSS = """
    LogsPane { layout: vertical; }
    LogsPane > #logs-status { height: 1; width: 1fr; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    LogsPane > #logs-trouble { height: auto; max-height: 3; width: 1fr; color: $text-warning; display: none; }
    """
    FOCUS = "LogView"
    PARTS = (LogWindow,)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "follow", id="logs.follow", tooltip="Follow the end of the log, or stay at this place"),
        Binding("slash", "search", "search", id="logs.search", tooltip="Search for a regular expression"),
        Binding("n", "find(1)", "next", id="logs.next", tooltip="Go to the next match below"),
        Binding("N", "find(-1)", "previous", id="logs.previous", tooltip="Go to the next match above"),
        Binding(
            "y", "copy", "copy", id="logs.copy", tooltip="Copy what is marked or selected, or what is on the screen"
        ),
        Binding("F", "narrow", "filter", id="logs.filter", tooltip="Show only lines that match, or with ! do not"),
        Binding("l", "level", "level", id="logs.level", tooltip="Show all lines, warnings and worse, or only errors"),
        Binding("E", "error", "error", id="logs.error", tooltip="Go to the first error, and from one to the next"),
        Binding("v", "mark", "mark", id="logs.mark", tooltip="Mark lines: arrows, page keys, g and G extend, y copies"),
        Binding("o", "fold", "unfold", id="logs.fold", tooltip="Unfold a traceback or a banner, or fold it"),
        Binding("space", "pause", "pause", id="logs.pause", tooltip="Hold what is shown while more arrives, or go on"),
        Binding("W", "wrap", "wrap", id="logs.wrap", tooltip="Wrap long lines, or cut them"),
        Binding("t", "times", "times", id="logs.times", tooltip="Times: none, local, UTC, since the run began"),
        Binding("S,ctrl+e", "save", "save", id="logs.save", tooltip="Write the log, or what is shown, to a file"),
        Binding("O", "folds", "unfold all", show=False, id="logs.folds", tooltip="Unfold or fold all of them"),
        Binding("g,home", "top", "top", show=False, id="logs.top", tooltip="Go to the oldest line"),
        Binding("G,end", "end", "end", show=False, id="logs.end", tooltip="Go to the newest line and follow"),
        Binding("right_curly_bracket", "jump('error', 1)", show=False, id="logs.later_error", tooltip="The next error"),
        Binding(
            "left_curly_bracket", "jump('error', -1)", show=False, id="logs.earlier_error", tooltip="The previous error"
        ),
        Binding(
            "right_square_bracket",
            "jump('phase', 1)",
            show=False,
            id="logs.later_phase",
            tooltip="The start's next phase",
        ),
        Binding(
            "left_square_bracket",
            "jump('phase', -1)",
            show=False,
            id="logs.earlier_phase",
            tooltip="The start's previous phase",
        ),
        Binding(
            "up,down",
            "save_scope",
            show=False,
            id="logs.save_scope",
            tooltip="While a file is named: save all lines, or what is shown",
        ),
        Binding("escape", "cancel", "cancel", id="logs.cancel", tooltip="First end the marking, or save nothing"),
        Binding("escape", "end_search", "end search", id="logs.end_search", tooltip="Then the search"),
        Binding("escape", "clear_filter", "all lines", id="logs.clear_filter", tooltip="Then show all lines again"),
    ]

    class FeedChanged(Message):
        """From the feed's own thread."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LogsPane.FeedChanged)

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._feed: LogFeed | None = None
        self._model: Model | None = None
        self._told: tuple[Model | None, Snapshot] | None = None
        """What was to be shown before there was anything to show it with"""
        self._ready = False
        self._fresh_until = 0.0
        """When the feed was last seen to be fresh, epoch seconds"""
        self._landmark: LogMark | None = None
        """What was last jumped to"""
        self._stands: object = None
        """What the view was last laid out for; each second nothing is done for what stands"""

    def compose(self) -> ComposeResult:
        yield Static("", id="logs-status", markup=False)
        yield Static("", id="logs-trouble", markup=False)
        yield LogView(id="logs-view")
        yield LogPrompt(id="logs-search")

    def on_mount(self) -> None:
        self._ready = True
        if self._told:
            self.show_model(*self._told)
        self._update()

    def on_unmount(self) -> None:
        if self._feed is not None:
            self._feed.close()

    @property
    def log_name(self) -> str:
        return self._model.name if self._model else ""

    # What is shown

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self._ready:
            self._told = (model, snapshot)
            return
        name = model.name if model and model.deployment else None
        if self._feed is not None and (self._model is None or self._model.name != name):
            self._feed.close()
            self._feed = self._landmark = None
            self.view.show_feed(None)
            if self.prompt.purpose:
                self._close_prompt()
        self._model = model
        if not self.display:
            return
        if name and self._feed is None:
            self._fresh_until = time.time()
            self._feed = self.api.open_log(name, self._tell, tail=TAIL)
            self.view.show_feed(self._feed)
            self.refresh_bindings()
        feed = self._feed
        stands = (feed, feed.first, feed.end, self.view.times) if feed else None
        if stands != self._stands or self.view.times is Times.RELATIVE:
            self._stands = stands
            self.view.feed_changed()
        else:
            self._update()

    def _tell(self) -> None:
        self.post_message(self.FeedChanged())

    def on_logs_pane_feed_changed(self) -> None:
        if self.display:
            self.view.feed_changed()

    @on(LogWindow.Changed)
    def _view_changed(self) -> None:
        self._update()

    def _update(self) -> None:
        """Says what there is to say, in as few changed cells as that takes."""
        feed = self._feed
        if feed and feed.freshness is Freshness.FRESH:
            self._fresh_until = time.time()
        shown = status(feed, self.view, self._fresh_until, self._landmark) if feed else ""
        _set_text(self.query_one("#logs-status", Static), shown)
        trouble = self._complaint or self._trouble(feed)
        line = self.query_one("#logs-trouble", Static)
        line.display = bool(trouble)
        _set_text(line, trouble)
        self.view.placeholder = self._placeholder(feed)

    def _trouble(self, feed: LogFeed | None) -> str:
        if not feed or feed.freshness in {Freshness.LOADING, Freshness.FRESH}:
            return ""
        return feed.message if feed.end > feed.first or feed.freshness is not Freshness.NONE else ""

    def _placeholder(self, feed: LogFeed | None) -> str:
        if self._model is None:
            return NO_MODEL
        if feed is None:
            return NOT_STARTED
        if self.view.filter and feed.end > feed.first:
            return "Looking through the log…" if self.view.filtering else "The filter lets no line through."
        return {
            Freshness.LOADING: "Reading the log…",
            Freshness.FRESH: "It ended without a word." if feed.message else "Nothing has been logged yet.",
            Freshness.STALE: "The log cannot be read now; trying again.",
            Freshness.FAILED: "The log could not be read.",
            Freshness.NONE: feed.message,
        }[feed.freshness]

    # What keys do

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self._ready:
            return False
        view, asked = self.view, self.prompt.purpose
        match action:
            case "find":
                return view.found is not None
            case "search" | "narrow" | "save":
                return asked is None
            case "save_scope":
                return asked is Purpose.SAVE and bool(view.filter)
            case "cancel":
                return asked is Purpose.SAVE or (view.marking and not asked)
            case "end_search":
                return asked is Purpose.SEARCH or (view.found is not None and not asked)
            case "clear_filter":
                return bool(view.filter) or asked is Purpose.FILTER
        return True

    def action_follow(self) -> None:
        self.view.toggle("follow")

    def action_pause(self) -> None:
        self.view.toggle("paused")

    def action_wrap(self) -> None:
        self.view.toggle("wrap")

    def action_times(self) -> None:
        self.view.next_times()

    def action_top(self) -> None:
        self.view.go_top()

    def action_end(self) -> None:
        self.view.go_end()

    def action_find(self, direction: int) -> None:
        self.view.find(direction)

    def action_level(self) -> None:
        shown = self.view.filter
        level = LEVELS[(LEVELS.index(shown.level) + 1) % len(LEVELS)]
        self.view.set_filter(LogFilter(level, shown.pattern, inverted=shown.inverted))
        self.refresh_bindings()

    def action_fold(self) -> None:
        if not self.view.toggle_fold():
            self._say("There is no traceback and no banner on the screen.")

    def action_folds(self) -> None:
        self.view.toggle_folds()

    def action_error(self) -> None:
        at_one = self._landmark and self._landmark.kind is MarkKind.ERROR and self._landmark.seq == self.view.selected
        self.action_jump(MarkKind.ERROR, 1 if at_one else 0)

    def action_jump(self, kind: str, direction: int) -> None:
        mark = self.view.jump(MarkKind(kind), direction)
        if not mark:
            self._say(f"There is no {('', 'later ', 'earlier ')[direction]}{kind} in this log.")
            return
        self._landmark = mark
        if not self.view.shows(mark.seq):
            self._say(f"The {kind} is on a line that the filter hides: escape shows all lines.")
        self._update()

    def action_mark(self) -> None:
        self.view.mark()
        self.refresh_bindings()

    def action_cancel(self) -> None:
        if self.prompt.purpose:
            self._close_prompt()
        else:
            self.view.end_mark()
        self.refresh_bindings()

    def action_copy(self) -> None:
        text = self.view.copied()
        if text is None:
            self._say(
                f"That is more than can be copied through a terminal ({MOST_COPIED >> 20} MiB): S saves it to a file."
            )
            return
        if not text:
            return
        self.app.copy_to_clipboard(text)
        self._say(said(text))
        if self.view.marking:
            self.action_cancel()

    def _say(self, words: str) -> None:
        self.notify(words, timeout=NOTICE_S, markup=False)


def _set_text(widget: Static, text: str) -> None:
    if str(widget.content) != text:
        widget.update(text)
