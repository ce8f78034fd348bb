"""Which of a snapshot's operations a screen has to do with."""

from engine.snapshot import LeaseStatus, Model, OperationStatus, Outcome, Snapshot


def under_way(snapshot: Snapshot) -> list[OperationStatus]:
    return [status for status in snapshot.operations if status.outcome is Outcome.RUNNING]


def unsettled(snapshot: Snapshot) -> list[OperationStatus]:
    """Those whose process is gone, and which nobody has finished or rolled back."""
    return [status for status in snapshot.operations if status.unsettled]


def about(snapshot: Snapshot, model: Model) -> list[OperationStatus]:
    """Those that change it, or did: what is under way before what has ended."""
    found = [status for status in snapshot.operations if model.name in status.subjects]
    return sorted(found, key=lambda status: status.outcome is not Outcome.RUNNING)


def of_others(snapshot: Snapshot) -> LeaseStatus | None:
    """The lease, when the operation that holds it is not one of those that are shown."""
    lease = snapshot.lease
    known = {status.id for status in snapshot.operations}
    return lease if lease and lease.operation not in known else None


def to_cancel(snapshot: Snapshot, model: Model | None) -> OperationStatus | None:
    """What changes the model, or otherwise the only one under way."""
    running = under_way(snapshot)
    about_it = [status for status in running if model and model.name in status.subjects]
    return about_it[0] if about_it else running[0] if len(running) == 1 else None


def to_settle(snapshot: Snapshot, model: Model | None) -> OperationStatus | None:
    """Of several the one about the model, or otherwise the latest."""
    found = unsettled(snapshot)
    about_it = [status for status in found if model and model.name in status.subjects]
    return next(iter(about_it or found), None)
