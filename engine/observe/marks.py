"""What has happened to a deployment, as marks for its charts, and the last change that is worth a comparison."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.metrics_reading import Mark
from engine.request import Action
from engine.snapshot import OperationStatus, Outcome, StepKind

SLACK_S = 5.0
"""A runtime's clock and the journal's may differ by so much: Docker's is another process's"""
STARTED_OUTSIDE = "started from outside tritontui"
_ANSWERED = (StepKind.WAIT, StepKind.PROMPT)
_STARTS = (Action.START, Action.RESTART, Action.SWAP, Action.FINISH)


@dataclass(frozen=True, slots=True)
class Change:
    """Since then something else, or the same anew, serves under a deployment's name."""

    mark: Mark
    before: str
    """The deployment that served before"""
    until: float
    """When that was still undisturbed; seconds since the epoch"""
    since: float
    """When what came was ready"""


def marks(name: str, operations: Iterable[OperationStatus], starts: Iterable[float], since: float) -> tuple[Mark, ...]:
    """Operations on it by when they began, and starts that were no operation's; since then, oldest first."""
    mine = [one for one in operations if name in one.subjects]
    found = [Mark(one.began_at, _text(one)) for one in mine if one.began_at >= since and _did_something(one)]
    found += [Mark(at, STARTED_OUTSIDE) for at in starts if at >= since and not _by_operation(at, mine)]
    return tuple(sorted(found, key=lambda mark: mark.at))


def last_change(name: str, operations: Iterable[OperationStatus], starts: Sequence[float]) -> Change | None:
    """The last swap to it, or its last start anew. `starts`: when its runs began, as far as they were seen."""
    mine = [one for one in operations if name in one.subjects]
    changes = [change for one in mine if (change := _change(name, one, starts))]
    changes += [Change(Mark(at, STARTED_OUTSIDE), name, at, at) for at in starts if not _by_operation(at, mine)]
    return max(changes, key=lambda change: change.since, default=None)


def _change(name: str, one: OperationStatus, starts: Sequence[float]) -> Change | None:
    if one.ended_at is None:
        return None
    mark, ready = Mark(one.began_at, _text(one)), _ready_at(name, one)
    if one.outcome is Outcome.DONE and one.target == name and one.kind in _STARTS:
        return Change(mark, one.outgoing[0] if one.outgoing else name, one.began_at, ready)
    # What was swapped out, and was brought back.
    if any(one.began_at - SLACK_S <= at <= one.ended_at + SLACK_S for at in starts):
        return Change(mark, name, one.began_at, ready)
    return None


def _ready_at(name: str, one: OperationStatus) -> float:
    """When the operation has seen it answer last; otherwise when it ended."""
    answered = [
        step.ended_at
        for step in one.steps
        if step.kind in _ANSWERED
        and step.outcome is Outcome.DONE
        and (step.subject or one.target) == name
        and step.ended_at
    ]
    return max(answered, default=one.ended_at or one.began_at)


def _by_operation(at: float, operations: Iterable[OperationStatus]) -> bool:
    """An operation was under way then: what has no end, was until it was interrupted, or is."""
    return any(
        one.began_at - SLACK_S <= at and (one.ended_at is None or at <= one.ended_at + SLACK_S) for one in operations
    )


def _did_something(one: OperationStatus) -> bool:
    """A refused one never began its first change."""
    return any(step.outcome is not None and step.kind is not StepKind.CHECK for step in one.steps)


def _text(one: OperationStatus) -> str:
    if one.outcome is Outcome.DONE:
        return one.title
    return f"{one.title}, {'under way' if one.outcome is Outcome.RUNNING else one.outcome.value}"
