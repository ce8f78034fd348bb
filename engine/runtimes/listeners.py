"""Who listens on this machine's TCP ports, as far as this user is told."""

from collections.abc import Iterator
from dataclasses import dataclass

from engine.text import clean_line

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 (an address that is met, not one that is bound)


@dataclass(frozen=True, slots=True)
class Listener:
    pid: int
    name: str

    def __str__(self) -> str:
        """E.g. `python3 (pid 77)`."""
        return f"{self.name} (pid {self.pid})"


def listeners(port: int, host: str = "") -> list[Listener | None]:
    """Those that a connection to this port may reach, at this address or, without one, at any.

    None stands for one that is another user's. Nothing when nobody listens, or that cannot be told.
    """
    import psutil

    try:
        return list(_listeners(port, host))
    except (psutil.Error, OSError):
        return []


def listener(port: int) -> str:
    """As `python3 (pid 77)`; empty when that is not told to this user."""
    return next((str(one) for one in listeners(port) if one), "")


def _listeners(port: int, host: str) -> Iterator[Listener | None]:
    import psutil

    for one in psutil.net_connections("tcp"):
        # An endpoint that is not connected has nothing there, and one of IPv4 may be written as one of IPv6.
        address = str(getattr(one.laddr, "ip", "")).removeprefix("::ffff:")
        if one.status != psutil.CONN_LISTEN or getattr(one.laddr, "port", None) != port:
            continue
        if host and address not in (host, *_EVERYWHERE):
            continue
        if one.pid is None:
            yield None
            continue
        try:
            yield Listener(one.pid, clean_line(psutil.Process(one.pid).name()))
        except psutil.NoSuchProcess:
            continue  # ended meanwhile
        except psutil.AccessDenied:
            yield None
