"""The time of each line, in the way that was asked for."""

from bisect import bisect_right
from datetime import datetime, timedelta
from enum import Enum

from engine.api import LogFeed
from engine.log_line import LogLine, MarkKind


class Times(Enum):
    """How times are shown: the word for it, and the cells that they take with the space after them."""

    NONE = ("", 0)
    LOCAL = ("local time", 13)
    UTC = ("UTC", 14)
    RELATIVE = ("time of the run", 14)

    @property
    def word(self) -> str:
        return self.value[0]

    @property
    def cells(self) -> int:
        return self.value[1]

    @property
    def next(self) -> "Times":
        ways = list(Times)
        return ways[(ways.index(self) + 1) % len(ways)]


class RunClock:
    """Tells the times of a feed's lines. Remembers when each run began, also when that line has been dropped."""

    def __init__(self, feed: LogFeed) -> None:
        self._feed = feed
        self._begun: dict[int, datetime] = {}
        self._runs: list[int] = []

    @property
    def knows(self) -> bool:
        """When a run began."""
        return bool(self._begun)

    def look(self) -> None:
        """Learns of runs that have begun since."""
        starts = [mark.seq for mark in self._feed.marks if mark.kind is MarkKind.RUN and mark.seq not in self._begun]
        if not self._begun:
            starts.append(self._feed.first)
        for seq in starts:
            for line in self._feed.lines(seq, seq + 1):
                if moment := parse(line.time):
                    self._begun[seq] = moment
        if starts:
            self._runs = sorted(self._begun)

    def tell(self, line: LogLine, times: Times) -> str:
        """Empty for a line without a time."""
        moment = parse(line.time)
        if not moment or times is Times.NONE:
            return ""
        if times is Times.LOCAL:
            return moment.astimezone().strftime("%H:%M:%S.%f")[:12]
        if times is Times.UTC:
            return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}Z"
        index = bisect_right(self._runs, line.seq) - 1
        return elapsed(moment - self._begun[self._runs[max(0, index)]]) if self._runs else ""


def parse(stamp: str) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp[:26] + "+00:00")
    except ValueError:
        return None


def elapsed(time: timedelta) -> str:
    """`+0:02:11.345`; with a minus for what was before."""
    milliseconds = abs(time) // timedelta(milliseconds=1)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{'-' if time < timedelta() else '+'}{hours}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"
