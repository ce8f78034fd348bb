"""Operations in words: what they do and have done, how long they take, and what settling them comes to."""

from engine import estimates
from engine.errors import Exit
from engine.request import Action
from engine.snapshot import Estimate, OperationStatus, Outcome, Step, StepKind
from tui.format import duration, roughly

SYMBOLS = {
    None: " ",
    Outcome.RUNNING: "◐",
    Outcome.DONE: "✓",
    Outcome.ROLLED_BACK: "↺",
    Outcome.FAILED: "▲",
    Outcome.CANCELLED: "–",
    Outcome.INTERRUPTED: "?",
}
COLOURS = {
    Outcome.RUNNING: "warning",
    Outcome.DONE: "success",
    Outcome.ROLLED_BACK: "warning",
    Outcome.FAILED: "error",
    Outcome.CANCELLED: "warning",
    Outcome.INTERRUPTED: "error",
}
"""Of the theme"""

REFUSED = "refused"

_SETTLED: dict[str, tuple[str, str]] = {
    Action.START: ("{target} is started, and answers.", "{target} is stopped, and removed if it was made for this."),
    Action.RESTART: ("{target} is started, and answers.", "{target} runs as it did before."),
    Action.STOP: ("{target} is stopped.", "{target} runs again, and answers."),
    Action.REMOVE: ("{target} is removed.", "{target} runs again, if it ran and is not removed yet."),
    Action.SWAP: (
        "{target} serves, and {outgoing} {is_} let go.",
        "{target} is taken away, and {outgoing} {serves} again.",
    ),
    Action.ADOPT: ("{target} is adopted, with its profile.", "{target} is only watched again, without a profile."),
}
_CANCELLED: dict[str, str] = {
    Action.START: "What it began is rolled back: {target} is stopped, and removed if it was made for this.",
    Action.RESTART: "{target} runs again as before, or is left running where it has been started already.",
    Action.STOP: "If {target} has been told to stop already, it stops all the same.",
    Action.REMOVE: "What has been done of it already stays done.",
    Action.SWAP: "What it began is rolled back: {outgoing} {serves} again.",
    Action.ADOPT: "What it began is rolled back: {target} is only watched again.",
}


def finished(status: OperationStatus) -> str:
    """What finishing an interrupted one comes to."""
    return _filled(_SETTLED.get(status.kind, ("What was begun is done.", ""))[0], status)


def undone(status: OperationStatus) -> str:
    """What rolling an interrupted one back comes to."""
    return _filled(_SETTLED.get(status.kind, ("", "What was begun is undone."))[1], status)


def cancelled(status: OperationStatus) -> str:
    """What cancelling one under way comes to."""
    return _filled(_CANCELLED.get(status.kind, "What it began is rolled back."), status)


def _filled(sentence: str, status: OperationStatus) -> str:
    outgoing = " and ".join(status.outgoing) or "what was to go"
    serves, is_ = ("serve", "are") if len(status.outgoing) > 1 else ("serves", "is")
    return sentence.format(target=status.target, outgoing=outgoing, serves=serves, is_=is_)


def usual(estimate: Estimate) -> str:
    """E.g. `usually 11m02s, 9m10s to 14m31s of 6 starts`."""
    if estimate.launches == 1:
        told = f"took {duration(estimate.typical)} the one time that it is known of"
    else:
        spread = f"{duration(estimate.low)} to {duration(estimate.high)} of {estimate.launches} starts"
        told = f"usually {duration(estimate.typical)}, {spread}"
    return f"{told} ({estimate.note})" if estimate.note else told


def pace(status: OperationStatus, now: float) -> str:
    """`~3m left` or `late: …`; empty when it has ended, goes back, or nothing is known."""
    if status.outcome is not Outcome.RUNNING or status.rolling_back or not status.estimate:
        return ""
    elapsed = max(0.0, now - (status.launching_since or now))  # what goes first takes its own time
    if elapsed > estimates.late_from(status.estimate):
        return f"late: {_expected(status.estimate)}"
    seconds = estimates.remaining(status.estimate, elapsed)
    if seconds is None:
        return ""
    return f"{'at most ' if elapsed >= status.estimate.typical else ''}~{roughly(seconds)} left"


def _expected(estimate: Estimate) -> str:
    """E.g. `usually 41s, at most 55s of 4 starts`."""
    usual, most = duration(estimate.typical), duration(estimate.high)
    if estimate.launches == 1:
        return f"the one start known took {usual}"
    spread = "at most" if estimate.launches < estimates.ENOUGH else "nine in ten within"
    return f"usually {usual}, {spread} {most} of {estimate.launches} starts"


def took(status: OperationStatus, now: float) -> str:
    """How long it has taken so far, or took."""
    return duration((status.ended_at or now) - status.began_at)


def ending(status: OperationStatus) -> str:
    """Its outcome in a word or two; of what is under way that it is on its way back, if it is."""
    if status.outcome is Outcome.FAILED and status.exit_code == Exit.REFUSED:
        return REFUSED
    if status.outcome is not Outcome.RUNNING:
        return status.outcome.value
    if status.rolling_back:
        return "" if status.kind == Action.ROLL_BACK else "rolling back"
    return "being cancelled" if status.cancelled else ""


def counted(status: OperationStatus, step: Step) -> bool:
    """Whether it is known how many steps there are: a check may add some and leave some out."""
    checked = all(one.outcome is Outcome.DONE for one in status.steps if one.kind is StepKind.CHECK)
    return checked and step.kind is not StepKind.CHECK


def place(status: OperationStatus) -> str:
    """`check …`, `4/10 wait until ready`; of the way back `rolling back: start again`. Empty between two steps."""
    step = status.current
    if not step:
        return ending(status)
    steps = status.steps
    if status.kind != Action.ROLL_BACK:
        if step.undo:
            return f"rolling back: {step.title}"
        steps = tuple(one for one in steps if not one.undo)
    if not counted(status, step):
        return f"{step.title} …"
    return f"{steps.index(step) + 1}/{len(steps)} {step.title}"


def cause(status: OperationStatus) -> str:
    """Why it is or was rolled back."""
    if status.outcome is Outcome.RUNNING and status.message:
        return status.message
    if status.kind == Action.ROLL_BACK:
        return "it was interrupted"
    if status.cancelled:
        return "it was cancelled"
    failed = next((step for step in status.steps if step.outcome is Outcome.FAILED and not step.undo), None)
    return f"“{what(status, failed)}” failed" if failed else "it did not succeed"


def what(status: OperationStatus, step: Step) -> str:
    """A step's title; where an operation changes several deployments, it says of which."""
    if status.outgoing and step.subject in status.subjects and step.subject not in step.title.split():
        return f"{step.subject}: {step.title}"
    return step.title
