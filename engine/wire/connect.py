"""Opens a TCP connection; to a server of this machine, without a turn of the event loop."""

import asyncio
import errno
import os
import socket
from collections.abc import Sequence

from engine.wire.failure import Failure, UnansweredError
from engine.wire.names import addresses, is_address

_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY)


async def connect(host: str, port: int, limit_s: float) -> socket.socket:
    """To the first address of `host` that takes it. Raises `UnansweredError` after `limit_s` at the latest."""
    stage = Failure.NOT_FOUND
    try:
        if is_address(host):
            stage = Failure.NOT_ACCEPTED
            sock, taken = _begin(host, port)
            if not taken:
                async with asyncio.timeout(limit_s):
                    await _taken(sock, host, port)
            return sock
        async with asyncio.timeout(limit_s):
            found = await addresses(host)
            stage = Failure.NOT_ACCEPTED
            return await _to_any(found, port)
    except TimeoutError as error:
        if error.errno is None:
            raise UnansweredError(stage) from None
        raise UnansweredError(Failure.UNREACHABLE, _said(error)) from error
    except UnicodeError as error:  # a host name that cannot be one
        raise UnansweredError(Failure.NO_URL, str(error)) from error
    except OSError as error:
        refused = error.errno == errno.ECONNREFUSED
        raise UnansweredError(Failure.REFUSED if refused else Failure.UNREACHABLE, _said(error)) from error


def _begin(host: str, port: int) -> tuple[socket.socket, bool]:
    """A connection, and whether it has been taken: on this machine it has, by the time that it is asked for again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    for _ in range(2):
        code = sock.connect_ex((host, port))
        if code in (0, errno.EISCONN):
            return sock, True
        if code not in _UNDER_WAY:
            sock.close()
            raise OSError(code, os.strerror(code))
    return sock, False


async def _taken(sock: socket.socket, host: str, port: int) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise


async def _to_any(hosts: Sequence[str], port: int) -> socket.socket:
    """Raises the last one's OSError."""
    failure = OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    for host in hosts:
        try:
            sock, taken = _begin(host, port)
            if not taken:
                await _taken(sock, host, port)
        except OSError as error:
            failure = error
        else:
            return sock
    raise failure


def _said(error: OSError) -> str:
    return error.strerror or str(error)
