"""One HTTP request to a server of this machine, as often as once a second, at the least cost.

No connection is kept: a server that is told to stop waits for its connections to be closed, Triton for up to 30 s, and
who only watches must not be what it waits for.
"""

import asyncio
from dataclasses import dataclass
from functools import lru_cache

from engine.wire.address import Address, address_of
from engine.wire.connect import connect
from engine.wire.connection import Connection
from engine.wire.failure import Failure, UnansweredError
from engine.wire.fetch import fetch

__all__ = ["Answer", "Failure", "UnansweredError", "get"]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


async def get(url: str, *, deadline_s: float, connect_s: float | None = None, most_bytes: int = 0) -> Answer:
    """`deadline_s`: for all of it. `most_bytes`: of the body; 0 leaves it unread. Raises `UnansweredError`."""
    address = address_of(url)
    request = _request(address)
    deadline = asyncio.get_running_loop().time() + deadline_s
    sock = await connect(address.host, address.port, deadline_s if connect_s is None else min(connect_s, deadline_s))
    connection = Connection(sock)
    try:
        answer = await fetch(connection, request, deadline=deadline, most_bytes=most_bytes)
    finally:
        connection.close()
    return Answer(answer.status, answer.body)


@lru_cache(maxsize=256)
def _request(address: Address) -> bytes:
    lines = (
        f"GET {address.target} HTTP/1.1",
        f"Host: {address.authority}",
        "Accept: text/plain;version=0.0.4, */*;q=0.1",
        "Accept-Encoding: identity",  # a small compressed answer may unfold to a huge one
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
