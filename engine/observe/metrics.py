"""Scrapes a deployment's Prometheus endpoint and keeps what it said as series over time."""

import asyncio
import threading
import time
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.freshness import Freshness
from engine.metrics_reading import MetricsReading, Series
from engine.observe.exposition import Exposition, ExpositionError, ExpositionReader, find_rubbish
from engine.observe.metric_catalog import CATALOGUE, WANTED, Idea
from engine.observe.series import Computed, compute

if TYPE_CHECKING:
    import httpx

DEADLINE_S = 3.0
CONNECT_DEADLINE_S = 2.0
MAX_BODY_BYTES = 8 * 1024 * 1024
LARGE_TEXT = 1 << 18
HISTORY_POINTS = 900
STALE_AFTER_S = 5.0
LONGEST_INTERVAL_S = 60.0
"""Scrapes further apart than this are not compared: their mean would pass for a current rate"""


class MetricsError(EngineError):
    """An endpoint gave no metrics."""


async def scrape(client: "httpx.AsyncClient", url: str) -> str:
    """The text at `url`. Raises `MetricsError` after `DEADLINE_S` at the latest, and for anything but an exposition."""
    import httpx

    headers = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}
    timeout = httpx.Timeout(None, connect=CONNECT_DEADLINE_S)
    answering = False
    try:
        async with (
            asyncio.timeout(DEADLINE_S),
            client.stream("GET", url, headers=headers, timeout=timeout) as response,
        ):
            answering = True
            if response.status_code != httpx.codes.OK:
                raise MetricsError(
                    f"{url} answered {response.status_code} where metrics were expected.",
                    "Check the metrics port and whether metrics are switched on.",
                )
            body = bytearray()
            # As it came: a small compressed answer may unfold to a huge one.
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise MetricsError(f"{url} answered with more than {MAX_BODY_BYTES >> 20} MiB; that is not read.")
    except TimeoutError:
        if answering:
            raise MetricsError(f"{url} began to answer and did not finish within {DEADLINE_S:g} s.") from None
        raise MetricsError(f"{url} accepted the connection and did not answer within {DEADLINE_S:g} s.") from None
    except httpx.ConnectTimeout:
        raise MetricsError(f"{url} did not accept a connection within {CONNECT_DEADLINE_S:g} s.") from None
    except httpx.ConnectError as error:
        if _is_refusal(error):
            raise MetricsError(
                f"{url} refused the connection.", "A server that is still loading opens its ports when it is done."
            ) from error
        raise MetricsError(f"{url} cannot be reached.", "Check the host name and the network.") from error
    except httpx.InvalidURL as error:
        raise MetricsError(f"{url} is no URL.", "Correct the profile's metrics address.") from error
    except httpx.UnsupportedProtocol as error:
        raise MetricsError(f"{url} is no http or https URL.", "Correct the profile's metrics address.") from error
    except httpx.HTTPError as error:
        raise MetricsError(f"{url} broke off or does not speak HTTP ({type(error).__name__}).") from error
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MetricsError(f"{url} answered 200 with bytes that are no Prometheus exposition.") from None
    # A large text may begin with a million comments.
    line = find_rubbish(text) if len(text) < LARGE_TEXT else await asyncio.to_thread(find_rubbish, text)
    if line is not None:
        raise _rubbish(url, line)
    return text


def _rubbish(url: str, line: int) -> MetricsError:
    return MetricsError(f"{url} answered 200 with text that is no Prometheus exposition (line {line}).")


def _is_refusal(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Track:
    """One idea's values, as many as the tracker has times."""

    __slots__ = ("idea", "latest", "source", "values")

    def __init__(self, idea: Idea, gaps: int) -> None:
        self.idea = idea
        self.source = ""
        self.latest: float | None = None
        self.values: deque[float | None] = deque(repeat(None, gaps), maxlen=HISTORY_POINTS)


class MetricsTracker:
    """The metrics of one deployment over time. One task feeds it; `reading` may be called from any thread."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._reader = ExpositionReader(WANTED)
        self._lock = threading.Lock()
        self._before: Exposition | None = None
        self._times: deque[float] = deque(maxlen=HISTORY_POINTS)
        self._tracks: dict[str, _Track] = {}
        self._succeeded_at: float | None = None
        self._failure = ""
        self._series: tuple[Series, ...] | None = ()

    def update(self, text: str, at: float) -> None:
        """Takes the text of a scrape. Raises `MetricsError` when it is no exposition; that counts as no scrape."""
        try:
            now = self._reader.read(text)
        except ExpositionError as error:
            raise _rubbish(self.url, error.line) from error
        seconds = at - self._succeeded_at if self._succeeded_at is not None else 0.0
        before = self._before if 0 < seconds <= LONGEST_INTERVAL_S else None
        computed = [(idea, compute(idea, before, now, seconds)) for idea in CATALOGUE]
        with self._lock:
            self._before = now
            self._succeeded_at = at
            self._failure = ""
            self._append(at, computed)

    def failed(self, message: str, at: float) -> None:
        """Notes that a scrape failed: a gap in every series."""
        with self._lock:
            self._failure = message
            if self._tracks:
                self._append(at, None)

    def reading(self, now: float) -> MetricsReading:
        """What is known at `now`; values stay while they are stale, and the message says since when they are."""
        with self._lock:
            at, failure = self._succeeded_at, self._failure
            if self._series is None:
                self._series = self._draw_series()
            series = self._series
        if at is None:
            freshness = Freshness.FAILED if failure else Freshness.LOADING
            return MetricsReading(at=None, freshness=freshness, url=self.url, message=failure)
        if now - at > STALE_AFTER_S:
            since = time.strftime("%H:%M:%S", time.localtime(at))
            message = f"No metrics since {since}. {failure}".rstrip()
            return MetricsReading(at=at, freshness=Freshness.STALE, url=self.url, message=message, series=series)
        message = "" if series else f"{self.url} reports no metrics that tritontui knows."
        return MetricsReading(at=at, freshness=Freshness.FRESH, url=self.url, message=message, series=series)

    def _append(self, at: float, computed: list[tuple[Idea, Computed | None]] | None) -> None:
        gaps = len(self._times)
        self._times.append(at)
        self._series = None
        if computed is None:
            for known in self._tracks.values():
                known.values.append(None)
            return
        for idea, result in computed:
            track = self._tracks.get(idea.key)
            if track is None:
                if result is None:
                    continue
                track = self._tracks[idea.key] = _Track(idea, gaps)
            track.latest = result.value if result else None
            track.source = result.source if result else track.source
            track.values.append(track.latest)

    def _draw_series(self) -> tuple[Series, ...]:
        times = tuple(self._times)
        return tuple(
            Series(
                key=idea.key,
                title=idea.title,
                unit=idea.unit,
                value=track.latest,
                source=track.source,
                times=times,
                values=tuple(track.values),
            )
            for idea in CATALOGUE
            if (track := self._tracks.get(idea.key)) is not None
        )
