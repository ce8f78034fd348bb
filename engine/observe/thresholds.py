"""Which thresholds of a profile a deployment's metrics pass at a moment, each in a sentence."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.freshness import Freshness
from engine.metrics_reading import Bound, MetricsReading, Series
from engine.notice import Rule
from engine.observe.series import Computed
from engine.units import with_unit

if TYPE_CHECKING:
    from engine.profile import Watch

WINDOW_S = 60.0
"""Of `failures`, and of quantiles"""
APART_S = 60.0
"""A value that comes so long after the one before it is no rate of the time between"""
FAILURES, KV_CACHE = "failures", "kv_cache"
WAITING = ("waiting", "pending")
"""Those that the engine holds back, and those that Triton has not handed to a model: others"""
FIRST_TOKEN = ("ttft_p99", "first_response_p99")
"""vLLM's, or else Triton's, which is of the models that stream; both over the last minute"""
COMPUTED = ("generation", "prompt")
"""Not `requests`: Triton counts one that streams as soon as its model has taken it in"""
PAST = (FAILURES, *COMPUTED)
"""Series whose past is looked at"""
_LEAST = 1e-3
"""Of what is summed up from rates: less is no request"""


@dataclass(frozen=True, slots=True)
class Passed:
    rule: Rule
    text: str
    short: str


@dataclass(frozen=True, slots=True)
class Look:
    """What is known to one that has looked for a moment, of what a minute's metrics tell."""

    seconds: float
    """For so long it has looked itself"""
    failed: float = 0.0
    """Requests, before that, as another has measured"""
    first_token: Computed | None = None
    """As another has measured it; None where it has not"""
    until: float = 0.0
    """Up to when that is"""


def passed(
    watch: "Watch", reading: MetricsReading, since: float, now: float, look: Look | None = None
) -> Iterator[Passed]:
    """Nothing of metrics that are stale. `since`: when this run began; what failed before is another's.

    `look`: by one that has not watched it for a minute.
    """
    if reading.freshness is not Freshness.FRESH:
        return
    # What seems to begin later began before the clock was set back.
    failed = failures(reading, max(since if since <= now else 0.0, now - WINDOW_S))
    if failed is not None and look:
        failed += look.failed
    if watch.failures is not None and failed is not None and failed - watch.failures > _LEAST:
        count = max(1, round(failed))
        many, limit = "" if count == 1 else "s", f", more than {watch.failures:g}" if watch.failures else ""
        least = "At least " if look else ""
        text = f"{least}{count} request{many} failed in the last minute{limit}: its log may say why."
        yield Passed(Rule.FAILURES, text, f"{count} failed")
    waits = _waiting(reading)
    if watch.waiting is not None and waits is not None and waits > watch.waiting:
        many = " waits" if waits == 1 else "s wait"
        text = f"{waits:.0f} request{many}, more than {watch.waiting:g}: more is asked of it than it answers."
        yield Passed(Rule.WAITING, text, f"{waits:.0f} wait")
    full = max((one.value for one in _of(reading, KV_CACHE) if one.value is not None), default=None)
    if watch.kv_cache is not None and full is not None and full > watch.kv_cache:
        text = (
            f"Its KV cache is {with_unit(full, '%')} full, more than {with_unit(watch.kv_cache, '%')}:"
            " what comes now waits or is preempted."
        )
        yield Passed(Rule.KV_CACHE, text, f"KV {full:.0f} %")
    if watch.ttft_p99 is not None:
        yield from _first_token(watch.ttft_p99, reading, look)


def _first_token(limit: float, reading: MetricsReading, look: Look | None) -> Iterator[Passed]:
    if look and (told := look.first_token) and told.bound is not Bound.BELOW and (told.value or 0.0) > limit:
        slow: Computed | Series | None = told
        over = f"over the minute until {clock(look.until)}"
    else:
        slow = _slowest_first_token(reading)
        over = f"over the last {_time(look.seconds if look else WINDOW_S)}"
    if slow is None or slow.value is None or slow.value <= limit:
        return
    more = "more than " if slow.bound is Bound.ABOVE else ""
    text = (
        f"The 99th percentile of the time to first token is {more}{with_unit(slow.value, 's')} {over},"
        f" longer than {with_unit(limit, 's')}: its metrics show whether requests wait."
    )
    yield Passed(Rule.TTFT_P99, text, _in_short(slow.value))


def failures(reading: MetricsReading, since: float) -> float | None:
    """How many requests failed since then; None when the server does not tell."""
    found = _of(reading, FAILURES)
    return sum(_counted(series, since) for series in found) if found else None


def computed(reading: MetricsReading, since: float) -> bool:
    """Whether an engine has computed tokens since then, as far as it tells."""
    return any(_counted(series, since) > _LEAST for key in COMPUTED for series in _of(reading, key))


def _waiting(reading: MetricsReading) -> float | None:
    values = [one.value for key in WAITING for one in _of(reading, key) if one.value is not None]
    return sum(values) if values else None


def _slowest_first_token(reading: MetricsReading) -> Series | None:
    """None when no token came, and when all came sooner than the histogram can tell apart."""
    found = next((found for key in FIRST_TOKEN if (found := _of(reading, key))), ())
    known = [one for one in found if one.value is not None and one.bound is not Bound.BELOW]
    return max(known, key=lambda one: one.value or 0.0, default=None)


def _of(reading: MetricsReading, key: str) -> Sequence[Series]:
    """The one of the whole deployment, or else those of its parts."""
    found = [series for series in reading.series if series.key == key]
    return [series for series in found if not series.of] or found


def _counted(series: Series, since: float) -> float:
    """What a rate per second adds up to: each value is of the time since the one before it."""
    total, times, values = 0.0, series.times, series.values
    for index in range(len(times) - 1, 0, -1):
        if times[index] <= since:
            break
        if rate := values[index]:
            known = (times[i] for i in range(index - 1, -1, -1) if values[i] is not None)
            before = next(known, times[index - 1])
            total += rate * (times[index] - (before if times[index] - before <= APART_S else times[index - 1]))
    return total


def _in_short(seconds: float) -> str:
    """Of a time to first token, in the eight characters that there are."""
    if seconds >= 100:
        told = f"{seconds / 60:.0f}m"
    elif seconds >= 0.95:
        told = f"{seconds:.0f}s"
    elif seconds >= 0.0995:
        told = f".{seconds * 10:.0f}s"
    else:
        told = f"{seconds * 1000:.0f}ms" if seconds >= 0.0005 else "<1ms"
    return f"TTFT {told}" if len(told) < 4 else f"TTFT{told}"


def _time(seconds: float) -> str:
    return {0: "second", 1: "second", WINDOW_S: "minute"}.get(round(seconds), f"{seconds:.0f} s")


def clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
