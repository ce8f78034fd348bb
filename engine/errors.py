"""What can go wrong, in the operator's words. Each error says what happened, to what, and what to do."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line; part of its interface."""

    DONE = 0
    FAILED = 1
    INVALID = 2
    REFUSED = 3
    UNREACHABLE = 4


class EngineError(Exception):
    """An expected failure. `str()` is the whole sentence for the operator: cause first, then what to do."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}".strip())
        self.what = what
        self.remedy = remedy


class OperationFailed(EngineError):
    """A change was begun and did not succeed."""


class InvalidProfile(EngineError):
    """A profile cannot be read or planned."""

    exit_code = Exit.INVALID


class NotFound(EngineError):
    """No profile or deployment has that name."""

    exit_code = Exit.INVALID


class Refused(EngineError):
    """Not done on purpose: busy, not ours, port or name taken."""

    exit_code = Exit.REFUSED


class RuntimeUnreachable(EngineError):
    """The container engine (or what else runs deployments) does not answer."""

    exit_code = Exit.UNREACHABLE


class RuntimeAbsent(RuntimeUnreachable):
    """It is not installed, or was never started: nobody on this machine uses it."""
