"""What an operator is told of a deployment that runs: a threshold of its profile is passed, or it does not answer."""

from dataclasses import dataclass
from enum import StrEnum


class Rule(StrEnum):
    """What is watched, the gravest first; the names are those of a profile's `watch`."""

    NO_ANSWER = "no_answer"
    """It has been ready, and its health endpoint or its metrics have not answered for so long"""
    CANARY = "canary"
    """It says that it is ready and did not answer a prompt"""
    FAILURES = "failures"
    WAITING = "waiting"
    KV_CACHE = "kv_cache"
    TTFT_P99 = "ttft_p99"


@dataclass(frozen=True, slots=True)
class Notice:
    """It holds now, and has since `since` (seconds since the epoch)."""

    rule: Rule
    since: float
    text: str
    """A sentence with the value and the limit, and what to look at; cleaned"""
    short: str = ""
    """The same in at most eight characters, for a list, e.g. `31 wait`"""
