"""The list of models with its filter: a line at its foot, which is there as long as the list is not complete."""

from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical

from engine.snapshot import Model, ProfileProblem, Snapshot
from tui.widgets.model_list import ModelList

if TYPE_CHECKING:
    from textual.widgets import Input

    from tui.widgets.filter_line import FilterLine


class ModelArea(Vertical):
    BINDINGS = [
        # At once, not when its turn comes in a widget: what is typed next is for the other one already.
        Binding(
            "slash", "filter", "filter", id="list.filter", tooltip="Show only what matches some words", priority=True
        ),
        Binding(
            "enter", "keep", "keep", id="list.keep_filter", tooltip="Keep the filter, and go to the list", priority=True
        ),
        Binding("escape", "clear_filter", "show all", id="list.clear_filter", tooltip="End the filter"),
        Binding("down", "move(1)", "down", show=False),
        Binding("up", "move(-1)", "up", show=False),
    ]
    DEFAULT_CSS = "ModelArea > ModelList { height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.list = ModelList(id="model-list")
        self._line: FilterLine | None = None
        """Made when it is first wanted: the first paint does not wait for it"""

    def compose(self) -> ComposeResult:
        yield self.list

    @property
    def selected(self) -> Model | None:
        return self.list.selected

    @property
    def selected_problem(self) -> ProfileProblem | None:
        return self.list.selected_problem

    def show(self, snapshot: Snapshot) -> None:
        self.list.show(snapshot)
        self._tell_place()

    def tick(self) -> None:
        self.list.tick()
        self._tell_place()

    def on_resize(self) -> None:
        self.call_after_refresh(self._tell_place)  # every row may have room now

    def select(self, name: str) -> None:
        """Puts the cursor on a model, if there is one of that name; the filter gives way."""
        if not self.list.select(name) and self._line:
            self._line.input.value = ""
            self._line.display = False
            self.list.filter("")
            self.list.select(name)

    @on(ModelList.Selected)
    def _tell_place(self) -> None:
        if self.border_subtitle != self.list.place:
            self.border_subtitle = self.list.place
        if self._line:
            self._line.show_count(*self.list.counts)

    @property
    def _typing(self) -> bool:
        # Unlike `has_focus` it does not wait for the line to have heard of it.
        return self._line is not None and self.is_attached and self.screen.focused is self._line.input

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "filter":
                return not self._typing
            case "keep":
                return self._typing
            case "clear_filter":
                return self._line is not None and self._line.display
        return True

    async def action_filter(self) -> None:
        if not self._line:
            from tui.widgets.filter_line import FilterLine

            self._line = FilterLine(id="filter")
            await self.mount(self._line)
            self._tell_place()
        self._line.display = True
        self.screen.set_focus(self._line.input)

    def action_keep(self) -> None:
        self.list.settle()
        self._end_typing()

    def action_clear_filter(self) -> None:
        if self._line:
            self._line.input.value = ""
            self._end_typing()

    def action_move(self, by: int) -> None:
        self.list.action_move(by)

    def on_input_changed(self, event: "Input.Changed") -> None:
        event.stop()
        self.list.filter(event.value)
        self._tell_place()
        if not self._typing:  # typed just before the key that ended it
            self.list.settle()
            self._hide_if_empty()

    def on_input_blurred(self, event: "Input.Blurred") -> None:
        event.stop()
        self._hide_if_empty()

    def _end_typing(self) -> None:
        self.screen.set_focus(self.list)
        self._hide_if_empty()

    def _hide_if_empty(self) -> None:
        """A list that is not complete is never without the line that says so."""
        if self._line:
            self._line.display = bool(self._line.input.value.strip())
            self.refresh_bindings()
