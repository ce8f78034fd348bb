"""The metrics of one deployment as a script reads them: once, on and on, or a family as the endpoint words it."""

import asyncio
import time
from collections.abc import Generator
from dataclasses import replace
from itertools import groupby

from engine.errors import NotFound
from engine.metrics_reading import MetricsReading
from engine.observe.metrics import MetricsTracker
from engine.observe.pace import LEAST_S
from engine.observe.scrape import MetricsError, scrape
from engine.text import clean_line

APART_S = 1.0
_ENDINGS = ("", "_total", "_bucket", "_sum", "_count", "_created")
"""Of the samples of one family"""


def follow(url: str) -> Generator[MetricsReading, None, None]:
    """A reading about every second, the first after two scrapes, so that rates exist.

    Raises `MetricsError` when these fail; a later failure is in the reading, whose time then stays what it was.
    """
    tracker = MetricsTracker(url)
    tracker.update(asyncio.run(scrape(url)), time.time())
    due = time.monotonic() + APART_S
    first = True
    while True:
        time.sleep(max(LEAST_S, due - time.monotonic()))
        due = max(due, time.monotonic() - APART_S) + APART_S
        try:
            tracker.update(asyncio.run(scrape(url)), time.time())
        except MetricsError as error:
            if first:
                raise
            tracker.failed(str(error), time.time())
            yield _failed(tracker.current(time.time()), str(error))
        else:
            yield tracker.current(time.time())
        first = False


def _failed(reading: MetricsReading, message: str) -> MetricsReading:
    """What is not stale yet, but was not read just now either."""
    return reading if reading.message else replace(reading, message=message)


def family(url: str, name: str) -> tuple[str, ...]:
    """The lines of a family, comments included, cleaned. Raises `MetricsError`, and `NotFound` when there are none."""
    wanted = {f"{name}{ending}" for ending in _ENDINGS} | {f"{name.removesuffix('_total')}_total"}
    text = asyncio.run(scrape(url))
    found = tuple(clean_line(line) for line in text.split("\n") if _sample(line) in wanted)
    if found:
        return found
    shown = clean_line(name)
    reported = [one for one, _ in groupby(_sample(line) for line in text.split("\n") if line.startswith("# TYPE"))]
    near = sorted(one for one in reported if name.lower() in one.lower() and not one.endswith("_created"))[:5]
    hint = f"It reports {', '.join(map(clean_line, near))}." if near else f"`curl {url}` shows all that it reports."
    raise NotFound(f"{url} reports no family {shown}.", hint)


def _sample(line: str) -> str:
    """The name that a line is about; empty for none."""
    if line.startswith(("# HELP ", "# TYPE ")):
        words = line.split(maxsplit=3)
        return words[2] if len(words) > 2 else ""
    return "" if line.startswith("#") else line.partition("{")[0].split(" ")[0]
