"""Who is changing this machine: what a lease says of its holder, and whether that one still lives."""

import os
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.request import Origin
from engine.runtimes.shim import identify, stat_fields
from engine.text import clean_line

LEASE = "tritontui-lease"
"""The record's name with every runtime"""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that carries out an operation."""

    token: str
    """Never twice the same"""
    user: str
    host: str
    pid: int
    started: int
    """In clock ticks since boot: with the pid and the boot it is never again the same"""
    boot: str
    pid_namespace: str
    """Process ids say nothing to who lives in another one"""
    what: str
    """E.g. `swap mixtral → llama3-70b`"""
    operation: str
    """Its id"""
    since: float
    address: str = ""
    """Of the SSH client that it was asked from"""

    @classmethod
    def this_process(cls, what: str, operation: str, origin: Origin) -> "Holder":
        identity = identify(os.getpid())
        pid, started, boot = identity or (os.getpid(), 0, "")
        return cls(
            token=uuid.uuid4().hex,
            user=origin.user,
            host=origin.host,
            pid=pid,
            started=started,
            boot=boot,
            pid_namespace=_pid_namespace(),
            what=what,
            operation=operation,
            since=time.time(),
            address=origin.address,
        )

    def to_facts(self) -> dict[str, str]:
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> "Holder":
        """Raises ValueError or KeyError when the facts are not what `to_facts` gives."""
        words = {key: clean_line(facts[key]) for key in ("token", "user", "host", "boot", "pid_namespace", "what")}
        return cls(
            **words,
            operation=clean_line(facts["operation"]),
            pid=int(facts["pid"]),
            started=int(facts["started"]),
            since=float(facts["since"]),
            address=clean_line(facts.get("address", "")),
        )

    @property
    def alive(self) -> bool | None:
        """None when it cannot be told from here.

        Nobody is taken for dead who is merely out of sight: among other process ids, on another machine (a tunnel to
        its Docker, a home folder on the network), or another user's where /proc is mounted with hidepid.
        """
        here = identify(os.getpid())
        if self.pid_namespace != _pid_namespace() or here is None or not self.boot:
            return None
        if self.boot != here[2]:
            return False if self.host == socket.gethostname() else None
        if identify(self.pid) == (self.pid, self.started, self.boot):
            return True
        return None if _hidden(self.pid) else False


def _hidden(pid: int) -> bool:
    """Whether there is a process of that id which this user's /proc does not show."""
    if stat_fields(pid):
        return False
    try:
        with suppress(PermissionError):
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # What has only now been given this id is another.
    return not stat_fields(pid)


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
