"""A tab of the detail area: shows what belongs to the selected model."""

from typing import TYPE_CHECKING, ClassVar

from textual.widget import Widget

if TYPE_CHECKING:  # the first paint needs none of them
    from engine.api import EngineApi
    from engine.snapshot import Model, ProfileProblem, Snapshot


class Pane(Widget):
    """Panes are told what to show; they fetch nothing by themselves while they are hidden."""

    FOCUS: ClassVar[str] = ""
    """Selector of the widget in it that takes the keys; the first that can when it is left out"""
    PARTS: ClassVar[tuple[type[Widget], ...]] = ()
    """Widgets in it with keys of their own, for the help"""

    def __init__(self, api: "EngineApi", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.api = api

    @property
    def stops(self) -> list[Widget]:
        """What can take the keys, in the order of `tab`: first what the pane is used by."""
        inside = [widget for widget in self.screen.focus_chain if self in widget.ancestors]
        main = self.query(self.FOCUS).first() if self.FOCUS and self.is_mounted else None
        start = inside.index(main) if main in inside else 0
        return inside[start:] + inside[:start]

    def take_focus(self) -> None:
        """Gives the keys to what the pane is used by."""
        if self.stops:
            # At once: what is typed in the moment until `Widget.focus` takes effect would go to the list.
            self.screen.set_focus(self.stops[0])

    def show_model(self, model: "Model | None", snapshot: "Snapshot") -> None:
        """Called with every snapshot, and when the cursor moves; cheap when nothing that the pane shows has changed.

        Also called just after the pane became visible; `self.display` is False while it is hidden.
        """
        raise NotImplementedError

    def show_problem(self, problem: "ProfileProblem", snapshot: "Snapshot") -> None:
        """In place of `show_model` while the row of an invalid profile is selected: there is only a file to show."""

    @property
    def ends_with_console(self) -> str:
        """What goes on in it and would end with the console, in a sentence; empty when nothing does."""
        return ""

    def look_again(self) -> None:
        """The selected model's profile has been edited."""
