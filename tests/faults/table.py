"""Which fault meets which step, and what is to come of it."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.faults import strikes
from tests.faults.strikes import Strike

STEPS = {
    "start": ("check", "create", "start", "gpus", "wait", "prompt"),
    "stop": ("stop",),
    "restart": ("stop", "check", "create", "start", "gpus", "wait", "prompt", "let go"),
    "swap": ("check", "create", "drain", "stop", "memory", "start", "gpus", "wait", "prompt", "let go"),
    "rolling back": ("stop", "keep log", "remove", "memory", "start", "wait", "prompt"),
    "swap by command": ("wait",),
}
"""`restart`: of one whose profile has changed.

`rolling back`: the steps of a swap whose incoming one did not answer. `by command`: the product's own process"""

OUTCOMES = {
    "d": "done",
    "r": "rolled back",
    "x": "refused",
    "f": "failed",
    "u": "unreachable",
}


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    strike: Strike | None
    """None: the operation's process is killed"""
    outcomes: dict[str, str]
    """Operation -> a letter for each of its steps, of `OUTCOMES`, or - where it can make no difference"""
    causes: tuple[str, ...] = ()
    """One of them has to be in the message, when it was not done"""
    settle: str = ""
    """After a kill: how what was interrupted is settled"""
    ways: tuple[tuple[str, str], ...] = ()
    """Step -> how `b` is bad, where that is the fault"""


FAULTS = (
    Fault(
        "killed (-9), then finished",
        None,
        {"start": "dddddd", "stop": "d", "restart": "dddddddd", "swap": "dddddddddd", "swap by command": "d"},
        settle="finish",
    ),
    Fault(
        "killed (-9), then rolled back",
        None,
        {operation: "r" * len(steps) for operation, steps in STEPS.items()},
        settle="roll back",
    ),
    Fault(
        "cancelled",
        strikes.cancelled,
        {
            "start": "rrrrrr",
            "stop": "d",
            "restart": "rrrrrrrd",
            "swap": "rrrrrrrrrd",
            "rolling back": "rrrrrrr",
            "swap by command": "r",
        },
        ("cancelled",),
    ),
    Fault(
        "Docker restarted",
        strikes.docker_restarted,
        {"start": "uddddd", "stop": "d", "restart": "drdddddd", "swap": "uddddddddd", "rolling back": "rrrrrrr"},
        ("Docker",),
    ),
    Fault(
        "Docker restarted, and its containers ended",
        strikes.docker_restarted_with_containers,
        {"start": "uddfff", "stop": "d", "restart": "drddrrr-", "swap": "udddddrrr-", "rolling back": "rrrrrrr"},
        ("Docker", "ended", "stopped from outside"),
    ),
    Fault(
        "container killed",
        strikes.container_killed,
        {"start": "---fff", "stop": "d", "restart": "d---rrr-", "swap": "xddd--rrr-", "rolling back": "r----rr"},
        ("ended", "Nothing holds"),
    ),
    Fault(
        "image missing",
        strikes.image_missing,
        {"start": "rr----", "swap": "rr--------"},
        ("image",),
    ),
    Fault(
        "port taken",
        strikes.port_taken,
        {"start": "xrr---", "restart": "-fff----", "swap": "xrrrrr----", "rolling back": "fffff--"},
        ("ort",),
    ),
    Fault(
        "name taken",
        strikes.name_taken,
        {"start": "xr----", "swap": "xr--------"},
        ("name",),
    ),
    Fault(
        "never ready",
        strikes.nothing,
        {"start": "----f-", "restart": "-----r--", "swap": "-------r--"},
        ("not ready within",),
        ways=(("wait", "never ready"),),
    ),
    Fault(
        "answers errors",
        strikes.nothing,
        {"start": "-----f", "restart": "------r-", "swap": "--------r-"},
        ("illegal memory access",),
        ways=(("prompt", "answers errors"),),
    ),
    Fault(
        "its process exits",
        strikes.nothing,
        {"start": "---fff", "restart": "----rrr-", "swap": "------rrr-"},
        ("b",),
        ways=(("gpus", "exits at once"), ("wait", "exits while loading"), ("prompt", "exits at the prompt")),
    ),
    Fault(
        "Docker's disk full",
        strikes.docker_disk_full,
        {"start": "xrrddd", "stop": "d", "restart": "fffrdddd", "swap": "xrrrrrdddd", "rolling back": "rrrffrr"},
        ("space",),
    ),
    Fault(
        "state folder full",
        strikes.state_full,
        {"start": "xddddd", "stop": "d", "swap": "xddddddddd", "rolling back": "rrrrrrr"},
        ("cannot be",),
    ),
    Fault(
        "state folder read-only",
        strikes.state_read_only,
        {"start": "xddddd", "stop": "d", "swap": "xddddddddd", "rolling back": "rrrrrrr"},
        ("cannot be",),
    ),
    Fault(
        "second operator",
        strikes.second_operator,
        {"start": "ddddff", "stop": "d", "restart": "dddddddd", "swap": "dddddddddd", "rolling back": "rrrrrrr"},
        ("ended", "stopped from outside"),
    ),
)


@dataclass(frozen=True, slots=True)
class Cell:
    operation: str
    step: str
    fault: Fault
    outcome: str
    """What is to come of it, in a word of `OUTCOMES`"""

    @property
    def key(self) -> str:
        return f"{self.operation} / {self.step} / {self.fault.name}"

    @property
    def short(self) -> tuple[str, str, str]:
        return self.operation, self.step, self.fault.name

    @property
    def way(self) -> str:
        """How `b` is."""
        if self.operation == "rolling back":
            return "answers errors"
        if self.operation == "swap by command":
            return "slow"
        return dict(self.fault.ways).get(self.step, "changed" if self.operation == "restart" else "good")


@dataclass(frozen=True, slots=True)
class Result:
    key: str
    """The cell's"""
    outcome: str
    message: str
    broken: tuple[str, ...]
    """What should hold and does not, each in a sentence"""
    seconds: float


def cells() -> Iterator[Cell]:
    """In the order of the operations, so that what one leaves is what the next begins with."""
    for operation, steps in STEPS.items():
        for fault in FAULTS:
            for step, letter in zip(steps, fault.outcomes.get(operation, "-" * len(steps)), strict=True):
                if letter != "-":
                    yield Cell(operation, step, fault, OUTCOMES[letter])


CHOSEN = frozenset(
    {
        ("start", "check", "state folder full"),
        ("start", "create", "name taken"),
        ("start", "start", "port taken"),
        ("start", "gpus", "container killed"),
        ("start", "wait", "killed (-9), then rolled back"),
        ("start", "prompt", "Docker restarted"),
        ("stop", "stop", "killed (-9), then finished"),
        ("restart", "stop", "second operator"),
        ("restart", "check", "killed (-9), then rolled back"),
        ("restart", "create", "killed (-9), then finished"),
        ("restart", "start", "killed (-9), then rolled back"),
        ("restart", "gpus", "its process exits"),
        ("restart", "wait", "never ready"),
        ("restart", "prompt", "answers errors"),
        ("restart", "let go", "killed (-9), then rolled back"),
        ("swap", "check", "image missing"),
        ("swap", "drain", "cancelled"),
        ("swap", "stop", "second operator"),
        ("swap", "stop", "killed (-9), then rolled back"),
        ("swap", "memory", "killed (-9), then finished"),
        ("swap", "create", "Docker's disk full"),
        ("swap", "start", "state folder read-only"),
        ("swap", "gpus", "its process exits"),
        ("swap", "wait", "never ready"),
        ("swap", "wait", "cancelled"),
        ("swap", "prompt", "answers errors"),
        ("swap", "let go", "killed (-9), then finished"),
        ("swap by command", "wait", "killed (-9), then finished"),
        ("swap by command", "wait", "cancelled"),
        ("rolling back", "stop", "killed (-9), then rolled back"),
        ("rolling back", "keep log", "state folder full"),
        ("rolling back", "remove", "cancelled"),
        ("rolling back", "memory", "Docker restarted"),
        ("rolling back", "start", "killed (-9), then rolled back"),
        ("rolling back", "wait", "second operator"),
        ("rolling back", "prompt", "Docker restarted, and its containers ended"),
    }
)
"""Those that every run of the tests has: each step and each fault at least once, and the worst of both"""
