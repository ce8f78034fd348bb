"""Asks a server whether it is ready."""

from dataclasses import dataclass
from enum import StrEnum

from engine.observe.http_get import Failure, UnansweredError, get
from engine.text import clean_line

PROBE_TIMEOUT_S = 2.0
OK = 200
MAX_SHOWN = 120
SLEEP_STATE = "vllm:engine_sleep_state{"
_AWAKE = 'sleep_state="awake"'


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
    STRANGER = "stranger"
    """Another program listens there"""


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
            case Failure.NOT_FOUND:
                return Probe(Health.SILENT, f"the name of its host was not found within {PROBE_TIMEOUT_S:g} s")
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
    # By lines and not by one pattern: on a line that never ends, that would hold the program for minutes.
    lines = [line for line in exposition.split("\n") if line.startswith(SLEEP_STATE) and _AWAKE in line]
    awake = [value for line in lines if (value := _number(line.rpartition("}")[2])) is not None]
    return all(value == 0 for value in awake) if awake else None


def _number(text: str) -> float | None:
    """The first word."""
    try:
        return float(text.split(None, 1)[0])
    except (ValueError, IndexError):
        return None
