"""What can be asked for: a change to the world, by whom, from where."""

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from engine.text import clean_line


class Action(StrEnum):
    """A change to the world that the operator can ask for."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    REMOVE = "remove"
    SWAP = "swap"
    ADOPT = "adopt"
    FINISH = "finish"
    """Of an operation whose process is gone: what it began is carried to its end"""
    ROLL_BACK = "roll back"
    """The same: what it began is undone"""


class Way(StrEnum):
    """How a swap makes room and fills it."""

    FULL = "full"
    """One container stops, the other starts"""
    LOAD = "load"
    """Within one running Triton server with explicit model control: load one model, unload the other"""
    SLEEP = "sleep"
    """vLLM: the outgoing is put to sleep instead of stopped; an incoming that sleeps is woken"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asks, and from where."""

    user: str
    host: str
    pid: int
    """Of the console or command that asked"""
    address: str = ""
    """Of the SSH client; empty for somebody at the machine itself"""
    via: str = "command"
    """command or console"""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}{f' from {self.address}' if self.address else ''}"

    @classmethod
    def here(cls, via: str) -> "Origin":
        import getpass  # for the first paint it is not needed

        try:
            user = getpass.getuser()
        except (OSError, KeyError):
            user = str(os.getuid())
        address = (os.environ.get("SSH_CONNECTION", "").split() or [""])[0]
        return cls(clean_line(user), clean_line(socket.gethostname()), os.getpid(), clean_line(address), via)


@dataclass(frozen=True, slots=True)
class Request:
    action: Action
    name: str
    """The deployment's; of a swap the incoming one's; of finish and roll back the id of the operation to settle"""
    outgoing: tuple[str, ...] = ()
    """Swap: what is to go; empty: what holds the incoming one's GPUs or ports"""
    runtime: str | None = None
    wait: bool = True
    """A start counts as done only when the server is ready. A swap always waits."""
    timeout_s: float | None = None
    """For the server to become ready; the profile's own limit when None"""
    drain_s: float = 60.0
    """Swap: how long requests under way may take to end before the outgoing is stopped all the same"""
    force: bool = False
    """In spite of the plan's obstacles"""
    full: bool = False
    """Swap: the full way, though a faster one would do"""
    remove_outgoing: bool = False
    """Swap: remove what was swapped out, instead of keeping it stopped"""
    origin: Origin = field(default_factory=lambda: Origin.here("command"))

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Raises ValueError, TypeError or KeyError when the text is not what `to_json` writes."""
        data = json.loads(text)
        given = {
            "action": Action(data["action"]),
            "outgoing": tuple(data["outgoing"]),
            "origin": Origin(**data["origin"]),
        }
        return cls(**{**data, **given})
