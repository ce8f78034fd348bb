"""What the command palette finds: actions on models, and panes."""

from collections.abc import Iterator

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.types import IgnoreReturnCallbackType

from tui.actions import ACTIONS, MODEL_GROUP

KEYS_ONLY = ("palette", "suspend", "next_area", "previous_area", "leave")


class ConsoleCommands(Provider):
    async def discover(self) -> Hits:
        """What can be done with the selected model comes first; the others are found by their names."""
        for title, help_text, run in self._commands(selected_only=True):
            yield DiscoveryHit(title, run, help=help_text)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for title, help_text, run in self._commands():
            score = matcher.match(title)
            if score > 0:
                yield Hit(score, matcher.highlight(title), run, help=help_text)

    def _commands(self, *, selected_only: bool = False) -> Iterator[tuple[str, str, IgnoreReturnCallbackType]]:
        from tui.screens.main import MainScreen

        screen = self.screen
        if not isinstance(screen, MainScreen):
            return
        for model in screen.snapshot.models if screen.snapshot else ():
            if selected_only and model != screen.selected:
                continue
            for action in ACTIONS:
                if action.group == MODEL_GROUP and not action.why_not(model, screen.snapshot):
                    yield f"{action.label} {model.name}", action.help, screen.runner(action, model.name)
            if not selected_only:
                yield f"go to {model.name}", model.summary or model.stack, screen.goto(model.name)
        for action in ACTIONS:
            if action.group == MODEL_GROUP or action.id in KEYS_ONLY:
                continue
            if not action.why_not(screen.selected, screen.snapshot):
                yield action.label, action.help, screen.runner(action)
