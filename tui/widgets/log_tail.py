"""The last lines of a log, for as long as there is a reason to look at them."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar

from rich.text import Text
from textual.app import RenderResult
from textual.message import Message
from textual.widget import Widget

from engine.api import EngineApi, LogFeed
from engine.errors import NotFound
from engine.freshness import Freshness
from engine.log_line import Level
from tui.widgets.glyphs import cut
from tui.widgets.ink import ink
from tui.widgets.log_look import NAMES, level_of

APART_S = 0.3
"""Between two repaints, however much is logged"""


class LogTail(Widget):
    COMPONENT_CLASSES: ClassVar[set[str]] = {"tail--muted", "tail--text", "tail--warning", "tail--error"}
    DEFAULT_CSS = """
    LogTail { height: 4; display: none; }
    LogTail > .tail--muted { color: $foreground-muted; }
    LogTail > .tail--text { color: $foreground; }
    LogTail > .tail--warning { color: $text-warning; }
    LogTail > .tail--error { color: $text-error; }
    """

    class FeedChanged(Message):
        """From the feed's own thread."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LogTail.FeedChanged)

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._api = api
        self._followed = ""
        self._feed: LogFeed | None = None
        self._due = False
        self._since = ""
        """As lines have their times"""

    def on_unmount(self) -> None:
        self.follow("", 0)

    def follow(self, name: str, lines: int, since: float | None = None) -> None:
        """Shows the end of that deployment's log; nothing, and reads nothing, when the name is empty.

        `since`: seconds since the epoch; what an earlier run has written before is left out.
        """
        self._since = datetime.fromtimestamp(since, UTC).isoformat() if since else ""
        if self._feed and name != self._followed:
            self._feed.close()
            self._feed = None
        self._followed = name
        if name and not self._feed:
            with suppress(NotFound):  # not created yet: the next snapshot asks again
                self._feed = self._api.open_log(name, self._tell, tail=lines)
        self.display = self._feed is not None
        if self.display:
            self.styles.height = lines + 1

    def _tell(self) -> None:
        self.post_message(self.FeedChanged())

    def on_log_tail_feed_changed(self) -> None:
        if not self._due:
            self._due = True
            self.set_timer(APART_S, self._repaint)

    def _repaint(self) -> None:
        self._due = False
        self.refresh()

    def render(self) -> RenderResult:
        feed, width = self._feed, self.size.width
        if not feed or not width:
            return Text()
        stale = f": {feed.message}" if feed.freshness in (Freshness.STALE, Freshness.FAILED) else ""
        kept = feed.lines(max(feed.first, feed.end - self.size.height + 1), feed.end)
        lines = [line for line in kept if not line.time or line.time >= self._since]
        empty = not lines and feed.freshness is Freshness.FRESH
        title = cut(f"log of {self._followed}{': nothing written yet' if empty else stale}", width)
        text = Text(title, style=ink(self, "tail--muted"), no_wrap=True)
        for line in lines:
            level = level_of(line)
            name = NAMES[level] if level and level >= Level.WARNING else "text"
            style = ink(self, f"tail--{name}")
            text.append(f"\n{cut(line.text, width)}", style=style)
        return text
