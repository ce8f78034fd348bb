"""Asks a server whether it is ready."""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from engine.text import clean_line

if TYPE_CHECKING:
    import httpx

PROBE_TIMEOUT_S = 2.0
MAX_SHOWN = 120


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
        return Probe(Health.BROKEN, f"its answer was no HTTP: {clean_line(str(error))[:MAX_SHOWN]}")
    if code == 200:
        return Probe(Health.READY)
    return Probe(Health.NOT_READY, f"its health endpoint answers {code}")


def new_client() -> "httpx.AsyncClient":
    """For probes and scrapes: straight to the machine, never through a proxy, never redirected."""
    import httpx

    # A server that is told to stop waits for connections to be closed; Triton does so for up to 30 s. Whoever only
    # watches must not be what it waits for.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=limits, headers={"Connection": "close"})
