"""Asks a server whether it is ready."""

import re
from dataclasses import dataclass
from enum import StrEnum

from engine.observe.http_get import Failure, UnansweredError, get
from engine.text import clean_line

PROBE_TIMEOUT_S = 2.0
OK = 200
MAX_SHOWN = 120
SLEEP_STATE = "vllm:engine_sleep_state{"
_AWAKE = re.compile(
    rf'^{re.escape(SLEEP_STATE)}[^\n]*sleep_state="awake"[^\n]*}}\s+([0-9.]+(?:e[+-]?[0-9]+)?)', re.MULTILINE
)


class Health(StrEnum):
    READY = "ready"
    NOT_READY = "not ready"
    """It answered, and not with success"""
    REFUSED = "refused"
    """Nothing listens there"""
    SILENT = "silent"
    """It accepted the connection and did not answer in time"""
    BROKEN = "broken"
    """What came was no HTTP answer"""


@dataclass(frozen=True, slots=True)
class Probe:
    health: Health
    detail: str = ""


async def probe(url: str) -> Probe:
    """One request, at most `PROBE_TIMEOUT_S`; never raises for what the server does."""
    try:
        # The body is of no use, and an endless one must not be read.
        code = (await get(url, deadline_s=PROBE_TIMEOUT_S)).status
    except UnansweredError as error:
        match error.failure:
            case Failure.REFUSED | Failure.UNREACHABLE:
                return Probe(Health.REFUSED, "nothing listens on its port")
            case Failure.SILENT | Failure.NOT_ACCEPTED | Failure.UNFINISHED:
                return Probe(Health.SILENT, f"it did not answer within {PROBE_TIMEOUT_S:g} s")
        # A container's port is open before anything in it listens: the connection is taken, and cut.
        said = clean_line(str(error))[:MAX_SHOWN]
        return Probe(Health.BROKEN, f"its answer was no HTTP: {said}" if said else "it takes connections and cuts them")
    if code == OK:
        return Probe(Health.READY)
    return Probe(Health.NOT_READY, f"its health endpoint answers {code}")


def asleep(exposition: str) -> bool | None:
    """Whether a vLLM sleeps, by the text of its metrics; None when they do not say (before 0.11.1, and other servers).

    Its health endpoint answers 200 all the same.
    """
    if SLEEP_STATE not in exposition:  # a look for a text costs little, and most servers end here
        return None
    awake = [match[1] for match in _AWAKE.finditer(exposition)]
    return all(float(value) == 0 for value in awake) if awake else None
