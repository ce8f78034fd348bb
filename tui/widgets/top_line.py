"""The top line: which machine this is, and which operation is under way, whoever began it."""

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.widget import Widget

from engine.snapshot import LeaseStatus, OperationStatus, Snapshot, StepKind
from tui import format as write
from tui import operation_words as words
from tui import operations
from tui.startup_words import in_short, stall
from tui.widgets.state import NOTICE

if TYPE_CHECKING:
    from engine.startup import Startup

JUST_ENDED_S = 8.0
READ_ONLY = " · read-only"


class TopLine(Widget):
    COMPONENT_CLASSES = {"top--error", "top--warning", "top--success"}
    DEFAULT_CSS = """
    TopLine {
        height: 1; background: $panel; padding: 0 1;
        & > .top--error { color: $text-error; }
        & > .top--warning { color: $text-warning; }
        & > .top--success { color: $text-success; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._snapshot: Snapshot | None = None
        self._text = Text()

    def show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.tick()

    def tick(self) -> None:
        """Redraws when the text has changed, such as the clock of an operation."""
        text = self._compose_line()
        if text != self._text or text.spans != self._text.spans:
            self._text = text
            self.refresh()

    def on_resize(self) -> None:
        self.tick()

    def render(self) -> RenderResult:
        return self._text

    def _compose_line(self) -> Text:
        snapshot = self._snapshot
        if not snapshot:
            return Text("tritontui")
        left = self._machine(snapshot)
        width = max(10, self.size.width)
        least = cell_len(snapshot.hostname) + (len(READ_ONLY) if snapshot.read_only else 0)
        right = self._fitting(self._operation(snapshot), width - least - 2)
        if right:
            left.truncate(max(0, width - right.cell_len - 2), overflow="ellipsis")
            left.append(" " * max(2, width - left.cell_len - right.cell_len))
            left.append_text(right)
        left.truncate(width, overflow="ellipsis")
        return left

    def _machine(self, snapshot: Snapshot) -> Text:
        left = Text(snapshot.hostname, style="bold")
        if snapshot.read_only:
            left.append(READ_ONLY, style=self._colour("warning"))
        if notices := sum(len(model.notices) for model in snapshot.models):
            told = f" · {NOTICE} {notices} notice{'' if notices == 1 else 's'}"
            left.append(told, style=self._colour("warning"))
        for runtime in snapshot.runtimes:
            if runtime.name == "process" and runtime.reachable:
                continue
            left.append(" · ")
            if runtime.reachable:
                left.append(runtime.detail)
            else:
                left.append(f"▲ {runtime.name} unreachable", style=self._colour("error"))
        gpus = snapshot.gpus.gpus if snapshot.gpus else ()
        if gpus:
            names = {gpu.name for gpu in gpus}
            left.append(f" · {len(gpus)} × {names.pop()}" if len(names) == 1 else f" · {len(gpus)} GPUs")
        elif snapshot.gpus:
            left.append(" · no GPU")
        return left

    def _fitting(self, told: list[Text], room: int) -> Text:
        """The first, and so the most complete, for which there is room; of the last as much as there is room for."""
        for text in told:
            if text.cell_len <= room:
                return text
        if told:
            told[-1].truncate(max(0, room), overflow="ellipsis")
            return told[-1]
        return Text()

    def _operation(self, snapshot: Snapshot) -> list[Text]:
        """What is being done, or needs somebody: told at length, and ever shorter."""
        running = operations.under_way(snapshot)
        if running:
            return self._under_way(running[0], _waited_for(snapshot, running[0]), len(running) - 1)
        if lease := operations.of_others(snapshot):
            return self._others(lease)
        if interrupted := operations.unsettled(snapshot):
            title = f"▲ {interrupted[0].title}"
            told = (f"{title} was interrupted: press u", f"{title}: press u", "▲ interrupted: press u")
            return [Text(text, style=self._colour("error")) for text in told]
        last = next(iter(snapshot.operations), None)
        if last and last.ended_at and write.now() - last.ended_at < JUST_ENDED_S:
            ended = f"{words.SYMBOLS[last.outcome]} {last.title} {words.ending(last)}"
            return [Text(ended, style=self._colour(words.COLOURS[last.outcome]))]
        return []

    def _under_way(self, status: OperationStatus, startup: "Startup | None", more: int) -> list[Text]:
        """`startup`: what it waits for, if that is known."""
        phase = in_short(startup) if startup else ""
        still = stall(startup, write.now()).partition(";")[0] if startup else ""
        others = f"  and {more} more" if more else ""
        took, pace = words.took(status, write.now()), words.pace(status, write.now()).partition(":")[0]
        place = words.place(status)
        if phase and status.current:
            place = place.replace(status.current.title, phase)
        title, place = f"◐ {status.title}", f"  {place}" if place else ""
        still = f", {still}" if still else ""
        short = place.split()[0] if status.current and not status.rolling_back else words.ending(status)
        told = (
            f"{title}{place}{still}  {took}{', ' if pace else ''}{pace}{others}",
            f"{title}{place}{still}  {took}{others}",
            f"{title}{place}  {took}{others}",
            f"{title}  {short}  {took}" if short else f"{title}  {took}",
            f"{title}  {took}",
            f"◐ {status.kind} {status.target}  {took}",
        )
        return [Text(text, style=self._colour("warning")) for text in told]

    def _others(self, lease: LeaseStatus) -> list[Text]:
        """Somebody else's, or what is left of it."""
        if lease.alive is False:
            told = (f"▲ {lease.what} by {lease.who}: its process is gone", f"▲ {lease.what}: its process is gone")
            return [Text(text, style=self._colour("error")) for text in told]
        since = write.duration(write.now() - lease.since)
        told = (f"◐ {lease.what} by {lease.who}, {since}", f"◐ {lease.what}, {since}")
        return [Text(text, style=self._colour("warning")) for text in told]

    def _colour(self, name: str) -> Style:
        return self.get_component_rich_style(f"top--{name}", partial=True)


def _waited_for(snapshot: Snapshot, status: OperationStatus) -> "Startup | None":
    step = status.current
    if not step or step.kind is not StepKind.WAIT:
        return None
    model = snapshot.model(step.subject or status.target)
    return model.startup if model else None
