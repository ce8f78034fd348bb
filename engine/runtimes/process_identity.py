"""Which process is meant, however ids are reused, and how to signal that one and no other."""

import contextlib
import os
import select
import signal
from pathlib import Path

from engine.runtimes.shim import LAUNCH_ID, Identity, identify, stat_fields


def as_identity(value: object) -> Identity | None:
    """From JSON; None for anything that is not an identity."""
    match value:
        case [int(pid), int(ticks), str(boot)] if pid > 1:
            return pid, ticks, boot
    return None


def is_alive(identity: Identity | None) -> bool:
    return identity is not None and identify(identity[0]) == identity


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signals that very process; false when it has ended. A stranger that has its id now is never reached.

    Raises PermissionError when it belongs to another user.
    """
    descriptor = _open(identity)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_for_end(identity: Identity, timeout_s: float) -> bool:
    """Whether the process has ended, at the latest after `timeout_s`."""
    descriptor = _open(identity)
    if descriptor is None:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s * 1000)))
    finally:
        os.close(descriptor)


def survivors(launch_id: str, server: Identity | None) -> list[Identity]:
    """Living processes of a launch: those of the server's session, and those that carry the launch's id.

    Either mark can be lost: programs begin sessions of their own, and a process that sets its title may overwrite the
    environment that others see.
    """
    mark = f"\0{LAUNCH_ID}={launch_id}\0".encode()
    session = str(server[0]).encode() if server and identify(server[0]) in (server, None) else None
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        ours = stat_fields(process.name)[3:4] == [session]
        if not ours:
            with contextlib.suppress(OSError):  # ended meanwhile, or another user's
                ours = mark in b"\0" + (process / "environ").read_bytes()
        if ours and (identity := identify(int(process.name))):
            found.append(identity)
    return found


def _open(identity: Identity) -> int | None:
    """A descriptor of that very process, which means it for good; None when it has ended."""
    try:
        descriptor = os.pidfd_open(identity[0])
    except OSError:
        return None
    if is_alive(identity):
        return descriptor
    os.close(descriptor)
    return None
