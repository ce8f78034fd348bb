"""Who listens on this machine's TCP ports, as far as this user is told."""

import contextlib
from collections.abc import Iterator, Sequence
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
    return listeners_at([(host, port)])[0]


def listeners_at(addresses: Sequence[tuple[str, int]]) -> list[list[Listener | None]]:
    """As `listeners`, of each host and port, at one look: it costs the more the more connections the machine has."""
    import psutil

    try:
        listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        return [
            [told for one in listening if _answers(one.laddr, host, port) for told in _who(one.pid)]
            for host, port in addresses
        ]
    except (psutil.Error, OSError):
        return [[] for _ in addresses]


def listener(port: int) -> str:
    """As `python3 (pid 77)`; empty when that is not told to this user."""
    return next((str(one) for one in listeners(port) if one), "")


def _answers(address: object, host: str, port: int) -> bool:
    # An endpoint that is not connected has nothing there, and one of IPv4 may be written as one of IPv6.
    ip = str(getattr(address, "ip", "")).removeprefix("::ffff:")
    return getattr(address, "port", None) == port and (not host or ip in (host, *_EVERYWHERE))


def _who(pid: int | None) -> Iterator[Listener | None]:
    """Nobody when it has ended meanwhile."""
    import psutil

    if pid is None:
        yield None
        return
    with contextlib.suppress(psutil.NoSuchProcess):
        try:
            yield Listener(pid, clean_line(psutil.Process(pid).name()))
        except psutil.AccessDenied:
            yield None
