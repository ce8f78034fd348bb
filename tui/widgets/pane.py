"""A tab of the detail area: shows what belongs to the selected model."""

from typing import ClassVar

from textual.widget import Widget

from engine.api import EngineApi
from engine.snapshot import Model, Snapshot


class Pane(Widget):
    """Panes are told what to show; they fetch nothing by themselves while they are hidden."""

    FOCUS: ClassVar[str] = ""
    """Selector of the widget in it that takes the keys; the first that can when it is left out"""

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.api = api

    def take_focus(self) -> None:
        """Gives the keys to what the pane is used by."""
        inside = self.query(self.FOCUS) if self.FOCUS else self.query("*")
        for widget in (self, *inside):
            if widget.focusable:
                widget.focus()
                return

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        """Called with every snapshot, and when the cursor moves; cheap when nothing that the pane shows has changed.

        Also called just after the pane became visible; `self.display` is False while it is hidden.
        """
        raise NotImplementedError
