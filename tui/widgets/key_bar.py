"""The last line: what the keys do here and now. Textual's footer makes a widget for each key, each time that the cursor
moves, and cuts off what has no room; this draws one line, from which what matters least is left out."""

from collections.abc import Callable
from typing import NamedTuple

from rich.segment import Segment
from textual import events
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tui.keys import key_name

ALWAYS = ("end_search", "clear_filter", "cancel", "cancel_operation", "recover", "leave", "help", "quit")
"""Actions that are shown, at the end, whatever else has no room"""
LATE = ("filter",)
"""What the list can do after what can be done with the model under its cursor"""


class Hint(NamedTuple):
    key: str
    label: str
    action: str
    greyed: bool = False

    @property
    def width(self) -> int:
        return len(key_name(self.key)) + len(self.label) + 3


class KeyBar(Widget):
    COMPONENT_CLASSES = {"keys--key", "keys--greyed"}
    DEFAULT_CSS = """
    KeyBar {
        dock: bottom; height: 1; background: $panel; color: $foreground;
        & > .keys--key { color: $footer-key-foreground; text-style: bold; }
        & > .keys--greyed { color: $foreground-muted; text-style: dim; }
    }
    """

    def __init__(self, greyed: Callable[[str], bool] = lambda _: False, *, id: str | None = None) -> None:
        """`greyed`: whether an action that cannot be done now is shown all the same."""
        super().__init__(id=id)
        self._greyed = greyed
        self._hints: list[Hint] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen:
            self.call_after_refresh(self._read)

    def _read(self) -> None:
        """Of several keys for one action the first is shown; what cannot be done now is not."""
        hints: dict[str, Hint] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if not binding.show or binding.action in hints:
                continue
            if active.enabled or self._greyed(binding.action):
                greyed = not active.enabled
                hints[binding.action] = Hint(binding.key, binding.description, binding.action, greyed)
        found = sorted(hints.values(), key=lambda hint: hint.action in LATE)
        if found != self._hints:
            self._hints = found
            self.refresh()

    def _fitting(self) -> list[Hint]:
        last = [hint for hint in self._hints if hint.action in ALWAYS]
        room = self.size.width - sum(hint.width for hint in last)
        fitting = []
        for hint in self._hints:
            if hint not in last:
                room -= hint.width
                if room < 0:
                    break
                fitting.append(hint)
        return [*fitting, *last]

    def render_line(self, y: int) -> Strip:
        base = self.rich_style
        key_style = base + self.get_component_rich_style("keys--key", partial=True)
        grey = base + self.get_component_rich_style("keys--greyed", partial=True)
        segments = []
        for hint in self._fitting():
            key, label = (grey, grey) if hint.greyed else (key_style, base)
            segments += [Segment(f" {key_name(hint.key)} ", key), Segment(f"{hint.label} ", label)]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def on_click(self, event: events.Click) -> None:
        end = 0
        for hint in self._fitting():
            end += hint.width
            if event.x < end:
                self.app.simulate_key(hint.key)
                return
