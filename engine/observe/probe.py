"""Asks a server whether it is ready."""

import asyncio
import re
import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from engine.text import clean_line

if TYPE_CHECKING:
    import httpx

PROBE_TIMEOUT_S = 2.0
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


async def probe(client: "httpx.AsyncClient", url: str) -> Probe:
    """One request, at most `PROBE_TIMEOUT_S`; never raises for what the server does."""
    import httpx

    try:
        # Over all of it: httpx begins anew with every byte that comes.
        async with asyncio.timeout(PROBE_TIMEOUT_S), client.stream("GET", url, timeout=None) as response:
            # The body is of no use, and an endless one must not be read.
            code = response.status_code
    except httpx.ConnectError:
        return Probe(Health.REFUSED, "nothing listens on its port")
    except TimeoutError:
        return Probe(Health.SILENT, f"it did not answer within {PROBE_TIMEOUT_S:g} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # A container's port is open before anything in it listens: the connection is taken, and cut.
        said = clean_line(str(error))[:MAX_SHOWN]
        return Probe(Health.BROKEN, f"its answer was no HTTP: {said}" if said else "it takes connections and cuts them")
    if code == 200:
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


def new_client() -> "httpx.AsyncClient":
    """For probes and scrapes: straight to the machine, never through a proxy, never redirected."""
    import httpx

    # A server that is told to stop waits for connections to be closed; Triton does so for up to 30 s. Whoever only
    # watches must not be what it waits for.
    limits = httpx.Limits(max_keepalive_connections=0)
    # All that is asked speaks plain HTTP. To read who signs certificates, as is done else, takes 20 to 50 ms each time.
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    headers = {"Connection": "close"}
    return httpx.AsyncClient(verify=nobody, trust_env=False, follow_redirects=False, limits=limits, headers=headers)
