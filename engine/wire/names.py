"""Looks up host names beside an event loop, so that a name service that hangs holds up nothing, and no program's end.

asyncio's own way keeps a few threads for all names, which are waited for at exit.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import lru_cache

_lock = threading.Lock()
_under_way: dict[str, "Future[Sequence[str]]"] = {}
"""By name: whoever asks for it meanwhile waits for the same answer"""


@lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Whether it is an IP address itself, and need not be looked up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def addresses(host: str) -> Sequence[str]:
    """IP addresses, the best first. Raises OSError, and UnicodeError for what can be no name."""
    return (host,) if is_address(host) else await asyncio.wrap_future(_look_up(host))


def _look_up(host: str) -> "Future[Sequence[str]]":
    with _lock:
        asked = _under_way.get(host)
        if asked is None:
            asked = _under_way[host] = Future()
            asked.set_running_or_notify_cancel()  # who waits no longer does not end it for others
            threading.Thread(target=_carry_out, args=(host, asked), name="host name", daemon=True).start()
        return asked


def _carry_out(host: str, asked: "Future[Sequence[str]]") -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        answer = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
    except (OSError, UnicodeError) as error:
        with _lock:
            del _under_way[host]
        asked.set_exception(error)
        return
    with _lock:
        del _under_way[host]
    asked.set_result(answer)
