"""The top line: which machine this is, and which operation is under way, whoever began it."""

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.widget import Widget

from engine.snapshot import OperationStatus, Outcome, Snapshot
from tui import format as write

JUST_ENDED_S = 8.0


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
        right = self._operation(snapshot)
        left = Text(snapshot.hostname, style="bold")
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
        width = max(10, self.size.width)
        if right:
            left.truncate(max(0, width - right.cell_len - 2), overflow="ellipsis")
            left.append(" " * max(2, width - left.cell_len - right.cell_len))
            left.append_text(right)
        left.truncate(width, overflow="ellipsis")
        return left

    def _operation(self, snapshot: Snapshot) -> Text:
        running = [status for status in snapshot.operations if status.outcome is Outcome.RUNNING]
        if running:
            return self._under_way(running[0], len(running) - 1)
        if snapshot.operations:
            last = snapshot.operations[0]
            if last.ended_at and write.now() - last.ended_at < JUST_ENDED_S:
                failed = last.outcome is Outcome.FAILED
                symbol = "▲" if failed else "✓" if last.outcome is Outcome.DONE else "–"
                colour = "error" if failed else "success"
                return Text(f"{symbol} {last.kind} {last.target} {last.outcome.value}", style=self._colour(colour))
        return Text()

    def _under_way(self, status: OperationStatus, more: int) -> Text:
        done = sum(step.outcome is Outcome.DONE for step in status.steps)
        step = status.current
        title = f"  {done + 1}/{len(status.steps)} {step.title}" if step else ""
        elapsed = write.duration(write.now() - status.began_at)
        text = Text(f"◐ {status.kind} {status.target}{title}  {elapsed}", style=self._colour("warning"))
        if more:
            text.append(f"  and {more} more")
        return text

    def _colour(self, name: str) -> Style:
        return self.get_component_rich_style(f"top--{name}", partial=True)
