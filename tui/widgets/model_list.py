"""The list of models: one row each, with state as symbol and word, and the cursor that all else follows."""

from rich.segment import Segment
from textual import events
from textual.binding import Binding
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.deployment import State
from engine.snapshot import Model, ProfileProblem, Snapshot
from tui import format as write
from tui.widgets.glyphs import cut
from tui.widgets.state import LOOKS

TICKING = (State.STARTING, State.READY, State.STOPPING, State.UNREACHABLE)
MIN_NAME = 14


class ModelList(ScrollView, can_focus=True):
    """Drawn line by line, so that only visible rows cost anything."""

    class Selected(Message):
        """The cursor is on another model."""

        def __init__(self, name: str | None) -> None:
            super().__init__()
            self.name = name

    class Chosen(Message):
        """Enter or a double click."""

    BINDINGS = [
        Binding("down,j", "move(1)", "down", show=False, id="list.down", tooltip="Go to the next model"),
        Binding("up,k", "move(-1)", "up", show=False, id="list.up", tooltip="Go to the previous model"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page_down", tooltip="Go down by a page"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page_up", tooltip="Go up by a page"),
        Binding("home,g", "move(-100000)", "first", show=False, id="list.first", tooltip="Go to the first model"),
        Binding("end,G", "move(100000)", "last", show=False, id="list.last", tooltip="Go to the last model"),
    ]
    COMPONENT_CLASSES = {f"models--{state.value}" for state in State} | {
        "models--name",
        "models--muted",
        "models--cursor",
        "models--problem",
    }
    DEFAULT_CSS = """
    ModelList {
        scrollbar-size-vertical: 1; overflow-x: hidden;
        & > .models--name { color: $foreground; }
        & > .models--muted { color: $foreground-muted; }
        & > .models--absent { color: $foreground-muted; }
        & > .models--stopped { color: $foreground-muted; }
        & > .models--starting { color: $text-warning; }
        & > .models--ready { color: $text-success; }
        & > .models--stopping { color: $text-warning; }
        & > .models--failed { color: $text-error; }
        & > .models--unreachable { color: $text-error; }
        & > .models--problem { color: $text-error; }
        & > .models--cursor { background: $panel; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._models: tuple[Model, ...] = ()
        self._problems: tuple[ProfileProblem, ...] = ()
        self._loading = True
        self._cursor = 0
        self._shown: list[tuple[object, ...]] = []

    @property
    def selected(self) -> Model | None:
        return self._models[self._cursor] if self._cursor < len(self._models) else None

    @property
    def selected_problem(self) -> ProfileProblem | None:
        index = self._cursor - len(self._models)
        return self._problems[index] if 0 <= index < len(self._problems) else None

    def show(self, snapshot: Snapshot) -> None:
        before = self.selected.name if self.selected else None
        problem = self.selected_problem
        self._models, self._problems = snapshot.models, snapshot.problems
        self._loading = snapshot.loading and not snapshot.models
        names = [model.name for model in self._models]
        if before in names:
            self._cursor = names.index(before)
        elif problem:
            paths = [known.path for known in self._problems]
            self._cursor = len(names) + paths.index(problem.path) if problem.path in paths else self._cursor
        self._cursor = max(0, min(self._cursor, self._count - 1))
        self.virtual_size = Size(self.size.width, max(1, self._count))
        self.tick()
        if (self.selected.name if self.selected else None) != before:
            self.post_message(self.Selected(self.selected.name if self.selected else None))

    def select(self, name: str) -> None:
        """Puts the cursor on a model, if it is there."""
        for index, model in enumerate(self._models):
            if model.name == name:
                self._move_to(index)

    def tick(self) -> None:
        """Redraws the rows whose text has changed, such as a running clock."""
        shown = [self._cells(index) for index in range(self._count)] or [("", "", "", "")]
        if len(shown) != len(self._shown):
            self.refresh()
        else:
            for index, (new, old) in enumerate(zip(shown, self._shown, strict=True)):
                if new != old:
                    self._refresh_row(index)
        self._shown = shown
        place = f"{self._cursor + 1} of {self._count}" if self._count > self.size.height else ""
        if place != self.border_subtitle:
            self.border_subtitle = place

    @property
    def _count(self) -> int:
        return len(self._models) + len(self._problems)

    def _refresh_row(self, index: int) -> None:
        row = index - self.scroll_offset.y
        self.refresh(Region(0, row, self.size.width, 1))

    def _cells(self, index: int) -> tuple[object, ...]:
        """Component class of the state, symbol, name, word, and what stands at the right."""
        if index >= len(self._models):
            problem = self._problems[index - len(self._models)]
            return (
                "problem",
                "▲",
                problem.path.rsplit("/", 1)[-1],
                "invalid",
                f"line {problem.line}" if problem.line else "",
            )
        model = self._models[index]
        look = LOOKS[model.state]
        if model.stale_since is not None:
            return model.state.value, "?", model.name, f"{look.word}?", "not known"
        right = ""
        if model.state in TICKING and model.since is not None:
            right = write.duration(write.now() - model.since)
        elif model.state is State.FAILED:
            right = model.detail
        elif model.state is State.ABSENT:
            right = model.summary or model.stack
        return model.state.value, look.symbol, model.name, look.word, right

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = y + self.scroll_offset.y
        if index >= self._count:
            return self._blank(y, width)
        state, symbol, name, word, right = (str(cell) for cell in self._cells(index))
        model = self._models[index] if index < len(self._models) else None
        endpoint = model.endpoint.removeprefix("http://") if model and model.state in TICKING else ""
        on_cursor = index == self._cursor
        base = self.rich_style
        if on_cursor:
            base += self.get_component_rich_style("models--cursor", partial=True)
        state_style = base + self.get_component_rich_style(f"models--{state}", partial=True)
        muted = base + self.get_component_rich_style("models--muted", partial=True)
        longest = max((len(model.name) for model in self._models), default=0)
        name_width = max(MIN_NAME, min(longest, width - 24))
        parts = [
            (("▌" if on_cursor else " "), state_style if self.has_focus else muted),
            (f"{symbol} ", state_style),
            (cut(name, name_width) + " ", base),
            (cut(word, 12), state_style),
        ]
        used = 1 + 2 + name_width + 1 + 12
        rest = width - used
        if endpoint and rest < 8 + len(endpoint):
            endpoint = f":{endpoint.rpartition(':')[2]}"
        if endpoint and rest >= 8 + len(endpoint):
            parts.append((cut(right, 8), muted))
            parts.append((cut(endpoint, rest - 8), muted))
        else:
            parts.append((cut(right, max(0, rest)), muted))
        return Strip([Segment(text, style) for text, style in parts]).adjust_cell_length(width, base)

    def _blank(self, y: int, width: int) -> Strip:
        style = self.rich_style + self.get_component_rich_style("models--muted", partial=True)
        text = ""
        if self._count == 0:
            lines = (
                ("Reading profiles …",)
                if self._loading
                else ("No profiles were found.", "Put one into ./profiles, or start with --profiles DIR.")
            )
            text = lines[y] if y < len(lines) else ""
        return Strip([Segment(" " + text, style)]).adjust_cell_length(width, style)

    def action_move(self, by: int) -> None:
        self._move_to(self._cursor + by)

    def action_page(self, direction: int) -> None:
        self._move_to(self._cursor + direction * max(1, self.size.height - 1))

    def _move_to(self, index: int) -> None:
        index = max(0, min(index, self._count - 1))
        if index == self._cursor:
            return
        old, self._cursor = self._cursor, index
        self.scroll_to_region(Region(0, index, 1, 1), animate=False, force=True)
        self._refresh_row(old)
        self._refresh_row(index)
        self.tick()
        self.post_message(self.Selected(self.selected.name if self.selected else None))

    def on_click(self, event: events.Click) -> None:
        index = event.get_content_offset_capture(self).y + self.scroll_offset.y
        if 0 <= index < self._count:
            self._move_to(index)
            if event.chain == 2:
                self.post_message(self.Chosen())

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, max(1, self._count))
        self.scroll_to_region(Region(0, self._cursor, 1, 1), animate=False, force=True)

    def on_focus(self) -> None:
        self._refresh_row(self._cursor)

    def on_blur(self) -> None:
        self._refresh_row(self._cursor)
