"""In what the parts of a load test are drawn."""

from dataclasses import dataclass

from rich.style import Style
from textual.widget import Widget

from tui.widgets.ink import ink

_PARTS = {
    "muted": "text-muted",
    "doubt": "text-warning",
    "failed": "text-error",
    "bar": "secondary",
    "tail": "text-muted",
}
CLASSES = {f"load--{part}" for part in _PARTS}
"""Component classes of a widget that draws them"""
CSS = "\n".join(f"& > .load--{part} {{ color: ${colour}; }}" for part, colour in _PARTS.items())
"""For its styles"""


@dataclass(frozen=True, slots=True)
class Inks:
    muted: Style
    doubt: Style
    failed: Style
    bar: Style
    tail: Style


def inks_of(widget: Widget) -> Inks:
    """Of one that has the component classes."""
    return Inks(*(ink(widget, f"load--{part}") for part in _PARTS))
