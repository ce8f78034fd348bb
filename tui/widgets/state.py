"""How a state looks: a symbol and a word beside the colour, so that none is needed to tell it."""

from dataclasses import dataclass

from engine.deployment import State


@dataclass(frozen=True, slots=True)
class Look:
    symbol: str
    word: str
    colour: str
    """A variable of the theme, without the dollar sign"""


LOOKS: dict[State, Look] = {
    State.ABSENT: Look(" ", "–", "foreground-muted"),
    State.STOPPED: Look("■", "stopped", "foreground-muted"),
    State.STARTING: Look("◐", "starting", "text-warning"),
    State.READY: Look("●", "ready", "text-success"),
    State.ASLEEP: Look("○", "asleep", "foreground-muted"),
    State.STOPPING: Look("◑", "stopping", "text-warning"),
    State.FAILED: Look("▲", "failed", "text-error"),
    State.UNREACHABLE: Look("?", "unreachable", "text-error"),
}
FOREIGN = Look("◇", "foreign", "foreground")
"""Started by hand: that comes before how it does"""
NOTICE = "!"
"""Beside the word of what its operator should look at while it runs"""
DRIFT = "≠"
"""Beside the word of what is not what its profile or image says now"""
