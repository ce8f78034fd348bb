"""Where a server listens, from the URL that names it."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from engine.wire.failure import Failure, UnansweredError

HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int
    authority: str
    """For the `Host` header"""
    target: str
    """Path and query"""


@lru_cache(maxsize=256)
def address_of(url: str) -> Address:
    """Raises `UnansweredError` (`NO_URL`) for all that is no plain http URL of ASCII."""
    try:
        where = urlsplit(url)
        port = where.port or HTTP_PORT
    except ValueError as error:
        raise UnansweredError(Failure.NO_URL, str(error)) from error
    target = (where.path or "/") + (f"?{where.query}" if where.query else "")
    authority = where.netloc.rpartition("@")[2]
    if where.scheme != "http" or not where.hostname or not _is_word(authority + target):
        raise UnansweredError(Failure.NO_URL)
    return Address(where.hostname, port, authority, target)


def _is_word(text: str) -> bool:
    """Nothing that would end a line of the request, or a word of it."""
    return text.isascii() and text.isprintable() and " " not in text
