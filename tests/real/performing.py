"""Operations for tests, through the engine: each in its own process, as a command carries them out."""

from engine.facade import Engine
from engine.request import Action, Request
from engine.snapshot import OperationStatus, Outcome


class NotDone(Exception):
    """An operation that did not end as done; its text is the operation's message."""

    def __init__(self, status: OperationStatus) -> None:
        super().__init__(status.message)
        self.status = status


def perform(engine: Engine, action: Action, name: str, **options: object) -> OperationStatus:
    """Raises `NotDone`."""
    status = engine.perform(Request(action, name, **options))  # type: ignore[arg-type]
    if status.outcome is not Outcome.DONE:
        raise NotDone(status)
    return status
