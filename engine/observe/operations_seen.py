"""What operations there are: as the journal has them, and as those of this program tell before it is read again."""

from collections.abc import Callable, Iterable

from engine.observe.aside import aside
from engine.observe.pace import Pace
from engine.snapshot import OperationStatus, Outcome
from engine.store import Journal

EVERY_S = 1.0
BUSY_EVERY_S = 0.3
"""While an operation is under way: it is carried out by another process, and the journal tells of its steps"""


class OperationsSeen:
    """For one event loop."""

    def __init__(self, journal: Journal, changed: Callable[[], None], moved: Callable[[], None]) -> None:
        """`changed`: told when `shown` is another; `moved`: when the world may be, too."""
        self.shown: tuple[OperationStatus, ...] = ()
        """Newest first"""
        self._journal = journal
        self._changed = changed
        self._moved = moved
        self._told: dict[str, OperationStatus] = {}
        """By operations of this program, and not (yet) in the journal so"""

    async def follow(self, reported: Callable[[], None]) -> None:
        """Does not end. `reported`: called when the journal has been read."""
        pace = Pace()
        while True:
            before = dict(self._told)
            recent = await aside(self._journal.recent_if_changed)
            if recent is not None:
                self._take_journal(recent, before)
            reported()
            busy = any(status.outcome is Outcome.RUNNING for status in self.shown)
            await pace.rest(BUSY_EVERY_S if busy else EVERY_S)

    def take(self, status: OperationStatus) -> None:
        """By an operation of this program."""
        self._told[status.id] = status
        self._show((*(known for known in self.shown if known.id != status.id), status))

    def _take_journal(self, recent: tuple[OperationStatus, ...], before: dict[str, OperationStatus]) -> None:
        """`before`: what had been told when the journal began to be read; what was told since is newer than it."""
        written = {status.id: status for status in recent}
        for id_, told in list(self._told.items()):
            known = written.get(id_)
            ended = known is not None and known.outcome is not Outcome.RUNNING
            newer = before.get(id_) != told or told.outcome is not Outcome.RUNNING
            if known and (ended or not newer):
                del self._told[id_]
        self._show({**written, **self._told}.values())

    def _show(self, found: Iterable[OperationStatus]) -> None:
        before, self.shown = self.shown, tuple(sorted(found, key=lambda status: -status.began_at))
        self._changed()
        if [_stage(status) for status in self.shown] != [_stage(status) for status in before]:
            self._moved()


def _stage(status: OperationStatus) -> tuple[object, ...]:
    """Changes with what an operation changes in the world, and not with every word that it says meanwhile."""
    return (status.id, status.outcome, *(step.outcome for step in status.steps))
