"""What there is now of what an operation was changing, in a sentence each: an operator must not have to guess."""

from engine.deployment import Lifecycle
from engine.deployments import Deployments
from engine.errors import EngineError
from engine.operations.record import Context, Side
from engine.request import Action
from engine.store import Entry


def what_is(deployments: Deployments, context: Context) -> str:
    """Of what there is or was. Blocks."""
    return " ".join(filter(None, (_state(deployments, side) for side in _sides(context))))


def what_remains(deployments: Deployments, entry: Entry) -> str:
    """Of one that broke off. Blocks. Empty when the journal does not say what it was about."""
    if not entry.context:
        settles = entry.request.action in (Action.FINISH, Action.ROLL_BACK)
        return "" if settles else "Nothing had been changed."
    try:
        context = Context.from_json(entry.context)
    except (ValueError, TypeError, KeyError):
        return ""
    return " ".join(_state(deployments, side) or f"{side.name} was not made yet." for side in _sides(context))


def _sides(context: Context) -> tuple[Side, ...]:
    return (*context.outgoing, *((context.incoming,) if context.incoming else ()))


def _state(deployments: Deployments, side: Side) -> str:
    try:
        now = deployments.on(side.runtime, side.name)
    except EngineError:
        return f"What has become of {side.name} cannot be told: {side.runtime} does not answer."
    if not now:
        return f"{side.name} is gone." if side.id else ""
    aside = "; the one before it is set aside" if now.replaces else ""
    return f"{side.name} {'runs' if now.lifecycle is Lifecycle.RUNNING else 'does not run'}{aside}."
