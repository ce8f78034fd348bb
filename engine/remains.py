"""What there is now of what an operation was changing that broke off: nobody must have to guess."""

from engine.deployment import Lifecycle
from engine.deployments import Deployments
from engine.errors import EngineError
from engine.operations.record import Context, Side
from engine.request import Action
from engine.store import Entry


def what_remains(deployments: Deployments, entry: Entry) -> str:
    """A sentence for each deployment. Blocks. Empty when the journal does not say which they are."""
    if not entry.context:
        settles = entry.request.action in (Action.FINISH, Action.ROLL_BACK)
        return "" if settles else "Nothing had been changed."
    try:
        context = Context.from_json(entry.context)
    except (ValueError, TypeError, KeyError):
        return ""
    sides = (*context.outgoing, *((context.incoming,) if context.incoming else ()))
    return " ".join(_state(deployments, side) for side in sides)


def _state(deployments: Deployments, side: Side) -> str:
    try:
        now = deployments.on(side.runtime, side.name)
    except EngineError:
        return f"What has become of {side.name} cannot be told: {side.runtime} does not answer."
    if now:
        return f"{side.name} {'runs' if now.lifecycle is Lifecycle.RUNNING else 'does not run'}."
    return f"{side.name} is gone." if side.id else f"{side.name} was not made yet."
