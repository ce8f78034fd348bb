"""The line above the panes: what is wrong with the selected model, or with the engine itself."""

from engine.deployment import State
from engine.snapshot import Model, Snapshot
from tui import format as write
from tui import operations
from tui.widgets.state import DRIFT, LOOKS, NOTICE


def line_above(model: Model | None, snapshot: Snapshot) -> str:
    """One sentence on what is wrong with the selected model, or with the engine itself; empty when nothing is."""
    runtime = snapshot.runtime(model.runtime) if model else None
    if model and runtime and not runtime.reachable:
        shown = f" What is shown of {model.name} is from {write.clock(runtime.since)}." if model.deployment else ""
        return f"▲ {runtime.detail}{shown}"
    if model and model.detail and model.state in (State.FAILED, State.UNREACHABLE):
        look = LOOKS[model.state]
        if model.state is State.FAILED:
            why = model.cause.title if model.cause else model.detail
            return f"{look.symbol} {model.name} has failed: {why}. w explains it."
        since = [notice.text for notice in model.notices]
        return f"{look.symbol} {model.name} is {look.word}: {since[0] if since else f'{model.detail}.'}"
    if model and model.notices:
        gravest, *others = model.notices
        more = f" Also: {', '.join(notice.short for notice in others)} (see 4 Launch)." if others else ""
        return f"{NOTICE} {gravest.text}{more}"
    interrupted = operations.unsettled(snapshot)
    if interrupted and not operations.under_way(snapshot):
        return f"▲ {interrupted[0].title} was interrupted: u finishes it or rolls it back."
    if snapshot.trouble:
        return f"▲ {snapshot.trouble}"
    if model and model.drift:
        told = f": {model.drift[0]}" if len(model.drift) == 1 else f" in {len(model.drift)} ways: see 4 Launch"
        return f"{DRIFT} {model.name} differs from its profile or image{told}."
    return ""
