"""The pane `Launch`: the operations on the selected model, step by step, and the facts of its deployment."""

from collections.abc import Iterable

from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from engine.api import EngineApi
from engine.deployment import State
from engine.snapshot import Model, OperationStatus, Outcome, Snapshot, StepKind
from tui import format as write
from tui import operation_words as words
from tui import operations
from tui.startup_words import phases_took, state_detail, told
from tui.widgets.glyphs import terminal_is_plain
from tui.widgets.ink import ink
from tui.widgets.launch_text import Inks, OperationText, cause_text, hung
from tui.widgets.log_tail import LogTail
from tui.widgets.page import Page
from tui.widgets.pane import Pane
from tui.widgets.startup_text import StartupText
from tui.widgets.state import DRIFT, NOTICE

EARLIER = 5
FACT_INDENT = 11
LEAST_PHASES = 3
"""Lines of the phases of what is being started"""
LEAST_TAIL, MOST_TAIL = 2, 8
"""Lines of the log of what is being started"""
STARTING = (StepKind.START, StepKind.LOAD, StepKind.WAKE, StepKind.GPUS, StepKind.WAIT, StepKind.PROMPT)


class LaunchPane(Pane):
    PARTS = (Page,)
    COMPONENT_CLASSES = {f"launch--{name}" for name in Inks.__slots__}
    DEFAULT_CSS = """
    LaunchPane > .launch--success { color: $text-success; }
    LaunchPane > .launch--warning { color: $text-warning; }
    LaunchPane > .launch--error { color: $text-error; }
    LaunchPane > .launch--muted { color: $foreground-muted; }
    """

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._model: Model | None = None
        self._snapshot: Snapshot | None = None
        self._texts: dict[str, Text] = {}
        self._tail = LogTail(api, id="launch-log")

    def compose(self) -> ComposeResult:
        with Page():
            yield Static(id="launch-operation", markup=False)
            yield self._tail
            yield Static(id="launch-facts", markup=False)

    def on_mount(self) -> None:
        self.set_interval(1.0, self._draw)

    def on_resize(self) -> None:
        self._draw()  # lines are wrapped to the pane's width

    def on_hide(self) -> None:
        self._tail.follow("", 0)

    def show_model(self, model: Model | None, snapshot: Snapshot) -> None:
        if self._model and model and model.name != self._model.name and self.is_mounted:
            self.query_one(Page).scroll_home(animate=False)
        self._model, self._snapshot = model, snapshot
        self._draw()

    def _draw(self) -> None:
        if not self.display or not self.size or not self._snapshot:
            return
        inks = Inks(*(ink(self, f"launch--{name}") for name in Inks.__slots__))
        found = operations.about(self._snapshot, self._model) if self._model else []
        status = found[0] if found else None
        starting = _starting(status) if status else ""
        startup = self._model.startup if self._model and self._model.state is State.STARTING else None
        apart = LEAST_TAIL + 1 if starting or startup else 0
        text = self._operation(status, inks, apart + (LEAST_PHASES if startup else 0))
        cause = self._model.cause if self._model and self._model.state is State.FAILED else None
        if cause:
            why = cause_text(cause, inks, self._width, said=status.message if status else "")
            text = Text("\n\n").join((why, text)) if text else why
        if startup:
            name = self._model.name if self._model else ""
            phases = StartupText(name, startup, inks, self._width, plain=terminal_is_plain())
            room = max(LEAST_PHASES, self.size.height - _height(text) - apart)
            text = Text("\n").join([*([text] if text else []), *phases.lines(room)])
        self._write("launch-operation", text)
        followed = self._model.name if startup and self._model else starting
        since = status.launching_since if starting and status else startup.began_at if startup else None
        self._tail.follow(followed, max(LEAST_TAIL, min(MOST_TAIL, self.size.height - _height(text) - 1)), since)
        self._write("launch-facts", self._facts(found[1 : 1 + EARLIER], inks, apart=bool(status or cause)))

    def _write(self, part: str, text: Text) -> None:
        before = self._texts.get(part)
        if before is None or text.plain != before.plain or text.spans != before.spans:
            self._texts[part] = text
            shown = self.query_one(f"#{part}", Static)
            shown.update(text)
            shown.display = bool(text.plain)

    @property
    def _width(self) -> int:
        return self.size.width - 3  # the page's padding and its scrollbar

    def _operation(self, status: OperationStatus | None, inks: Inks, taken: int) -> Text:
        """`taken`: lines of the pane that something else needs."""
        if self._model is None:
            return Text("No model is selected.")
        if status is None:
            return Text(self._nothing(self._model))
        written = OperationText(status, inks, self._width)
        whole = written.whole()
        room = self.size.height - taken
        return written.folded(room) if status.outcome is Outcome.RUNNING and _height(whole) > room else whole

    def _nothing(self, model: Model) -> str:
        if model.foreign:
            return f"{model.name} was started by hand, and is only watched. In the list, a adopts it."
        if model.deployment:
            return ""
        usual = f" Its start {words.usual(model.estimate)}." if model.estimate else ""
        return f"{model.name} has not been started. Press enter in the list to start it, or s to swap to it.{usual}"

    def _facts(self, earlier: Iterable[OperationStatus], inks: Inks, *, apart: bool) -> Text:
        model = self._model
        text = Text()
        if not model:
            return text
        for title, value in self._known(model):
            text.append(f"\n{title:<{FACT_INDENT}}", style=inks.muted)
            text.append(hung(value, self._width - FACT_INDENT, FACT_INDENT))
        for number, status in enumerate(earlier):
            ended = f"{words.SYMBOLS[status.outcome]} {write.clock(status.began_at)}  {status.title}"
            text.append("\n\n" if number == 0 and text else "\n")
            text.append(hung(f"{ended}, {words.ending(status)}: {status.message}", self._width - 2, 2))
        return text if apart else text[1:]

    def _known(self, model: Model) -> Iterable[tuple[str, str]]:
        deployment = model.deployment
        if deployment:
            service = deployment.service
            process = f", pid {deployment.pid}" if deployment.pid else ""
            yield "state", ": ".join(part for part in (model.state.value, state_detail(model)) if part)
            for notice in model.notices:
                yield f"{NOTICE} notice", f"since {write.clock(notice.since)}: {notice.text}"
            yield "runtime", f"{deployment.runtime}, id {deployment.id[:12]}{process}"
            yield "runs", deployment.what
            yield "answers at", "  ".join(url for url in (service.http, service.grpc, service.metrics) if url)
            if model.startup:
                if took := phases_took(model.startup):
                    yield "phases", took
                yield from told(model.startup.reported, {})
            if model.estimate:
                yield "next start", words.usual(model.estimate)
        for line in model.drift:
            yield f"{DRIFT} differs", line


def _height(text: Text) -> int:
    return text.plain.count("\n") + 1


def _starting(status: OperationStatus) -> str:
    """The deployment that is being started at the moment, if one is."""
    if status.outcome is not Outcome.RUNNING:
        return ""
    begun = [step for step in status.steps if step.outcome is not None]
    return (begun[-1].subject or status.target) if begun and begun[-1].kind in STARTING else ""
