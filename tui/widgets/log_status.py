"""What the line above a log says: whether it is live, how much of it is shown, and how."""

import time

from engine.api import LogFeed
from engine.freshness import Freshness
from engine.log_line import LogMark, MarkKind
from tui.widgets.log_view import LogView

_LOOKS = {
    Freshness.LOADING: ("◌", "loading"),
    Freshness.FRESH: ("●", "live"),
    Freshness.STALE: ("▲", "stale"),
    Freshness.FAILED: ("✗", "failed"),
    Freshness.NONE: ("·", "no log"),
}


def count_of(count: int) -> str:
    return f"{count:,} line{'' if count == 1 else 's'}"


def status(feed: LogFeed, view: LogView, fresh_until: float, landmark: LogMark | None) -> str:
    """`fresh_until`: when the feed was last seen to be fresh, epoch seconds. `landmark`: what was jumped to."""
    parts = [_freshness(feed, fresh_until), _shown(feed, view)]
    if view.found:
        count, position, complete = view.found
        of = f"match {position:,} of {count:,}" if position else f"{count:,} match{'es' if count == 1 else ''}"
        parts.append(of if complete else f"{of} …")
    if landmark and landmark.seq == view.selected:
        parts.append(_place(feed, landmark))
    if view.marking and view.marked and view.lines:
        first, last = view.marked
        parts.append(f"marking {count_of(view.lines.count_between(first, last))}")
    parts.append(_following(view))
    parts += [word for word, on in (("wrap", view.wrap), (view.times.word, view.times.cells)) if on]
    return "  ".join(parts)


def _freshness(feed: LogFeed, fresh_until: float) -> str:
    symbol, word = _LOOKS[feed.freshness]
    if feed.freshness is Freshness.STALE:
        word = f"stale since {time.strftime('%H:%M:%S', time.localtime(fresh_until))}"
    elif feed.freshness is Freshness.FRESH and feed.message:
        symbol, word = "■", feed.message
    return f"{symbol} {word}"


def _shown(feed: LogFeed, view: LogView) -> str:
    every = feed.end - feed.first
    if not view.filter or not view.lines:
        return count_of(every)
    count = "…" if view.filtering else f"{view.lines.count:,}"
    return f"{count} of {count_of(every)}: {view.filter.words}"


def _following(view: LogView) -> str:
    if view.paused:
        return f"paused · {count_of(view.behind)} below" if view.behind else "paused"
    if view.follow:
        return "follow"
    return f"follow off · {count_of(view.behind)} below" if view.behind else "follow off"


def _place(feed: LogFeed, landmark: LogMark) -> str:
    if landmark.kind is MarkKind.PHASE:
        return f"phase: {landmark.title}"
    errors = [mark.seq for mark in feed.marks if mark.kind is landmark.kind]
    return f"error {errors.index(landmark.seq) + 1:,} of {len(errors):,}" if landmark.seq in errors else "error"
