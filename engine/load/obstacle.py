"""What ends a load test that nobody has stopped: somebody changes the deployment that it asks."""

from collections.abc import Iterable

from engine.request import Action
from engine.snapshot import OperationStatus, Outcome

CHANGING = (Action.STOP, Action.RESTART, Action.REMOVE, Action.SWAP)


def in_the_way(operations: Iterable[OperationStatus], deployment: str) -> str:
    """A sentence on the operation under way that a load test of it would hold up; empty when there is none.

    A server that is asked to end waits for its connections, and a swap for requests under way.
    """
    for status in operations:
        if status.outcome is Outcome.RUNNING and status.kind in CHANGING and deployment in status.subjects:
            return f"“{status.title}” has begun."
    return ""
