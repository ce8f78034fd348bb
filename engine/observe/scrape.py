"""Fetches the text of a Prometheus endpoint."""

import re

from engine.errors import EngineError
from engine.observe.aside import aside
from engine.observe.exposition import find_rubbish
from engine.observe.http_get import Failure, UnansweredError, get

DEADLINE_S = 3.0
CONNECT_DEADLINE_S = 2.0
MAX_BODY_BYTES = 8 * 1024 * 1024
LARGE_TEXT = 1 << 17
MOST_LINES = 200_000
"""8 MiB of samples are half as many; of lines that say nothing, memory must not be filled with"""
OK = 200
USUAL_HEAD = 1 << 12
"""Characters within which a usual exposition has its first sample"""
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="[^"\\\n]*"'
_USUAL = re.compile(
    r"(?:#[^\n]*\n)*[a-zA-Z_:][a-zA-Z0-9_:]*"
    rf"(?:\{{(?:{_LABEL}(?:,{_LABEL})*,?)?\}})? (?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\n"
)
"""Comments and one sample: a look at it costs a hundredth of what a parser does"""
_ADDRESS = "Correct the profile's metrics address."


class MetricsError(EngineError):
    """An endpoint gave no metrics."""


async def scrape(url: str) -> str:
    """The text at `url`. Raises `MetricsError` after `DEADLINE_S` at the latest, and for anything but an exposition."""
    try:
        answer = await get(url, deadline_s=DEADLINE_S, connect_s=CONNECT_DEADLINE_S, most_bytes=MAX_BODY_BYTES)
    except UnansweredError as error:
        raise _unanswered(url, error) from error
    if answer.status != OK:
        raise MetricsError(
            f"{url} answered {answer.status} where metrics were expected.",
            "Check the metrics port and whether metrics are switched on.",
        )
    try:
        text = answer.body.decode("utf-8")
    except UnicodeDecodeError:
        raise MetricsError(f"{url} answered 200 with bytes that are no Prometheus exposition.") from None
    if len(text) > MOST_LINES and text.count("\n") > MOST_LINES:
        raise MetricsError(f"{url} answered with more than {MOST_LINES} lines; that is not read.")
    if _USUAL.match(text, 0, USUAL_HEAD):
        return text
    # A large text may begin with many comments.
    line = find_rubbish(text) if len(text) < LARGE_TEXT else await aside(find_rubbish, text)
    if line is not None:
        raise rubbish(url, line)
    return text


def rubbish(url: str, line: int) -> MetricsError:
    return MetricsError(f"{url} answered 200 with text that is no Prometheus exposition (line {line}).")


def _unanswered(url: str, error: UnansweredError) -> MetricsError:
    match error.failure:
        case Failure.NO_URL:
            return MetricsError(f"{url} is no http URL.", _ADDRESS)
        case Failure.UNREACHABLE:
            return MetricsError(f"{url} cannot be reached.", "Check the host name and the network.")
        case Failure.NOT_FOUND:
            return MetricsError(
                f"The host of {url} was not found within {CONNECT_DEADLINE_S:g} s: the name service does not answer.",
                "Check the network.",
            )
        case Failure.REFUSED:
            return MetricsError(
                f"{url} refused the connection.", "A server that is still loading opens its ports when it is done."
            )
        case Failure.NOT_ACCEPTED:
            return MetricsError(f"{url} did not accept a connection within {CONNECT_DEADLINE_S:g} s.")
        case Failure.SILENT:
            return MetricsError(
                f"{url} accepted the connection and did not answer within {DEADLINE_S:g} s.",
                "See in the server's log whether it is busy or hangs.",
            )
        case Failure.UNFINISHED:
            return MetricsError(f"{url} began to answer and did not finish within {DEADLINE_S:g} s.")
        case Failure.TOO_LARGE:
            return MetricsError(f"{url} answered with more than {MAX_BODY_BYTES >> 20} MiB; that is not read.")
        case Failure.NO_HTTP | Failure.CUT:
            return MetricsError(f"{url} broke off or does not speak HTTP.")
        case Failure.PIECEMEAL:
            return MetricsError(f"{url} sends its answer in pieces of a few bytes; that is not read.")
