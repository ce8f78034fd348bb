"""The log of the selected model: a status line, the log, and a search line when it is asked for."""

import re
import time
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input, Static

from engine.api import EngineApi, LogFeed
from engine.snapshot import Freshness, Model, Snapshot
from tui.widgets.log_search import compile_pattern
from tui.widgets.log_view import LogView
from tui.widgets.pane import Pane

TAIL = 100_000
NO_MODEL = "No model selected."
NOT_STARTED = "Not started yet: press enter to start it."
_LOOKS = {
    Freshness.LOADING: ("◌", "loading"),
    Freshness.FRESH: ("●", "live"),
    Freshness.STALE: ("▲", "stale"),
    Freshness.FAILED: ("✗", "failed"),
    Freshness.NONE: ("·", "no log"),
}


class LogsPane(Pane):
    DEFAULT_CSS = """
    LogsPane { layout: vertical; }
    LogsPane > #logs-status { height: 1; width: 1fr; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; }
    LogsPane > #logs-trouble { height: auto; max-height: 3; width: 1fr; color: $text-warning; display: none; }
    LogsPane > #logs-search { height: 1; border: none; padding: 0; display: none; }
    """
    FOCUS = "LogView"
    PARTS = (LogView,)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "follow", id="logs.follow", tooltip="Follow the end of the log, or stay at this place"),
        Binding("slash", "search", "search", id="logs.search", tooltip="Search for a regular expression"),
        Binding("n", "find(1)", "next", id="logs.next", tooltip="Go to the next match below"),
        Binding("N", "find(-1)", "previous", id="logs.previous", tooltip="Go to the next match above"),
        Binding("space", "pause", "pause", id="logs.pause", tooltip="Hold what is shown while more arrives, or go on"),
        Binding("w", "wrap", "wrap", id="logs.wrap", tooltip="Wrap long lines, or cut them"),
        Binding("t", "timestamps", "times", id="logs.timestamps", tooltip="Show the time of each line, or hide it"),
        Binding("g,home", "top", "top", show=False, id="logs.top", tooltip="Go to the oldest line"),
        Binding("G,end", "end", "end", show=False, id="logs.end", tooltip="Go to the newest line and follow"),
        Binding("y", "copy", "copy", id="logs.copy", tooltip="Copy the selected line, or all that are on the screen"),
        Binding("escape", "end_search", "end search", id="logs.end_search", tooltip="End the search"),
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
        self._pattern_error = ""

    def compose(self) -> ComposeResult:
        yield Static("", id="logs-status", markup=False)
        yield Static("", id="logs-trouble", markup=False)
        yield LogView(id="logs-view")
        yield Input(placeholder="regular expression", id="logs-search", compact=True)

    def on_mount(self) -> None:
        self._ready = True
        if self._told:
            self.show_model(*self._told)
        self._update()

    def on_unmount(self) -> None:
        if self._feed is not None:
            self._feed.close()

    @property
    def view(self) -> LogView:
        return self.query_one(LogView)

    # What is shown

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if not self._ready:
            self._told = (model, snapshot)
            return
        name = model.name if model and model.deployment else None
        if self._feed is not None and (self._model is None or self._model.name != name):
            self._feed.close()
            self._feed = None
            self.view.show_feed(None)
        self._model = model
        if not self.display:
            return
        if name and self._feed is None:
            self._fresh_until = time.time()
            self._feed = self.api.open_log(name, self._tell, tail=TAIL)
            self.view.show_feed(self._feed)
        self.view.feed_changed()

    def _tell(self) -> None:
        self.post_message(self.FeedChanged())

    def on_logs_pane_feed_changed(self) -> None:
        if self.display:
            self.view.feed_changed()

    def on_log_view_changed(self) -> None:
        self._update()

    def _update(self) -> None:
        """Says what there is to say, in as few changed cells as that takes."""
        feed, view = self._feed, self.view
        if feed and feed.freshness is Freshness.FRESH:
            self._fresh_until = time.time()
        _set_text(self.query_one("#logs-status", Static), "  ".join(self._status(feed)) if feed else "")
        trouble = self._pattern_error or self._trouble(feed)
        line = self.query_one("#logs-trouble", Static)
        line.display = bool(trouble)
        _set_text(line, trouble)
        view.placeholder = self._placeholder(feed)

    def _status(self, feed: LogFeed | None) -> list[str]:
        if not feed:
            return []
        symbol, word = _LOOKS[feed.freshness]
        if feed.freshness is Freshness.STALE:
            word = f"stale since {time.strftime('%H:%M:%S', time.localtime(self._fresh_until))}"
        elif feed.freshness is Freshness.FRESH and feed.message:
            symbol, word = "■", feed.message
        view = self.view
        parts = [f"{symbol} {word}", _lines(feed.end - feed.first)]
        if view.found:
            count, position, complete = view.found
            of = f"match {position:,} of {count:,}" if position else f"{count:,} match{'es' if count == 1 else ''}"
            parts.append(of if complete else f"{of} …")
        if view.paused:
            parts.append(f"paused · {_lines(view.behind)} below" if view.behind else "paused")
        elif view.follow:
            parts.append("follow")
        else:
            parts.append(f"follow off · {_lines(view.behind)} below" if view.behind else "follow off")
        parts += [word for word, on in (("wrap", view.wrap), ("times", view.timestamps)) if on]
        return parts

    def _trouble(self, feed: LogFeed | None) -> str:
        if not feed or feed.freshness in {Freshness.LOADING, Freshness.FRESH}:
            return ""
        return feed.message if feed.end > feed.first or feed.freshness is not Freshness.NONE else ""

    def _placeholder(self, feed: LogFeed | None) -> str:
        if self._model is None:
            return NO_MODEL
        if feed is None:
            return NOT_STARTED
        return {
            Freshness.LOADING: "Reading the log…",
            Freshness.FRESH: "It ended without a word." if feed.message else "Nothing has been logged yet.",
            Freshness.STALE: "The log cannot be read now; trying again.",
            Freshness.FAILED: "The log could not be read.",
            Freshness.NONE: feed.message,
        }[feed.freshness]

    # What keys do

    def action_follow(self) -> None:
        self.view.toggle("follow")

    def action_pause(self) -> None:
        self.view.toggle("paused")

    def action_wrap(self) -> None:
        self.view.toggle("wrap")

    def action_timestamps(self) -> None:
        self.view.toggle("timestamps")

    def action_top(self) -> None:
        self.view.go_top()

    def action_end(self) -> None:
        self.view.go_end()

    def action_find(self, direction: int) -> None:
        self.view.find(direction)

    def action_copy(self) -> None:
        if lines := self.view.copied():
            self.app.copy_to_clipboard("\n".join(lines))
            self.notify(f"Copied {_lines(len(lines))}.", timeout=2)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "find":
            return self._ready and self.view.found is not None
        if action == "search":
            return self._ready and not self.query_one(Input).has_focus
        if action == "end_search":
            return self._ready and (self.view.found is not None or self.query_one(Input).display)
        return True

    # Searching

    def action_search(self) -> None:
        search = self.query_one(Input)
        search.display = True
        search.focus()
        self.refresh_bindings()

    def action_end_search(self) -> None:
        self.query_one(Input).value = ""
        self._leave_search()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._pattern_error = ""
        pattern: re.Pattern[str] | None = None
        try:
            pattern = compile_pattern(event.value) if event.value else None
        except re.error as error:
            self._pattern_error = f"Not a regular expression: {error}."
        self.view.search(pattern)
        self.refresh_bindings()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._leave_search()
        self.view.find(-1)

    def _leave_search(self) -> None:
        self.view.focus()
        self.query_one(Input).display = False
        self.refresh_bindings()


def _lines(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"


def _set_text(widget: Static, text: str) -> None:
    if str(widget.content) != text:
        widget.update(text)
