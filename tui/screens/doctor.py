"""The doctor: what this machine lacks to serve models, as it is found, with the command that mends it."""

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

from engine.api import EngineApi
from engine.errors import EngineError
from engine.finding import Finding, Severity
from tui.finding_words import LOOKS, counted

NOTICE_S = 3.0
TOGETHER_S = 0.05


class Findings(OptionList):
    """One option each, the gravest first, under the headings of their severities."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "cursor_down", "down", show=False, tooltip="Go to the next finding"),
        Binding("up,k", "cursor_up", "up", show=False, tooltip="Go to the previous finding"),
        Binding("pagedown,space", "page_down", "page down", show=False, tooltip="Go down by a page"),
        Binding("pageup,b", "page_up", "page up", show=False, tooltip="Go up by a page"),
        Binding("home,g", "first", "first", show=False, tooltip="Go to the first finding"),
        Binding("end,G", "last", "last", show=False, tooltip="Go to the last finding"),
    ]
    DEFAULT_CSS = """
    Findings { height: 1fr; border: none; padding: 0; background: $surface; scrollbar-gutter: stable; }
    Findings:focus { border: none; background: $surface; background-tint: $foreground 0%; }
    Findings > .option-list--option { padding: 0 1; }
    Findings > .option-list--option-disabled { color: $foreground; text-style: underline; }
    Findings > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: none; }
    Findings:focus > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: none; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
        self._findings: dict[str, Finding] = {}

    @property
    def chosen(self) -> Finding | None:
        option = self.highlighted_option
        return self._findings.get(option.id or "") if option else None

    def show(self, findings: Sequence[Finding]) -> None:
        """The cursor stays on the finding that it is on, and where nobody has moved it, on the first."""
        before, at = self.chosen, self.scroll_y
        moved = before is not None and list(self._findings.values())[:1] != [before]
        self._findings = {}
        options: list[Option] = []
        for severity in LOOKS:
            alike = [finding for finding in findings if finding.severity is severity]
            if alike:
                options.append(Option(LOOKS[severity].heading, disabled=True))
            for finding in alike:
                key = str(len(self._findings))
                self._findings[key] = finding
                options.append(Option(self._text(finding), id=key))
        self.set_options(options)
        kept = next((key for key, one in self._findings.items() if moved and one == before), "0")
        if self._findings:
            self.highlighted = self.get_option_index(kept)
        self.scroll_to(y=at if moved else 0, animate=False)

    def _text(self, finding: Finding) -> Table:
        look = LOOKS[finding.severity]
        colour = self.app.theme_variables.get(f"text-{look.colour}", "") if look.colour else ""
        in_order = finding.severity is Severity.OK
        text = Table.grid(padding=(0, 1, 0, 0))
        text.add_column(no_wrap=True)
        text.add_column(overflow="fold")
        text.add_row(Text(look.symbol, style=colour), Text(finding.title, style="" if in_order else f"bold {colour}"))
        text.add_row("", Text(finding.evidence, style="dim" if in_order else ""))
        for mark, words in (("→", finding.remedy), ("$", finding.command)):
            if words:
                text.add_row(mark, Text(words))
        return text


class Doctor(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,D", "dismiss", "close", id="doctor.close", tooltip="Close the doctor"),
        Binding("y", "copy", "copy", id="doctor.copy", tooltip="Copy the finding's command; it is never run from here"),
        Binding("r", "look", "look again", id="doctor.look", tooltip="Look the machine over again"),
    ]
    DEFAULT_CSS = """
    Doctor { align: center middle; background: $background 60%; }
    Doctor > #doctor-box {
        width: 94%; max-width: 120; height: 94%; border: round $accent; background: $surface; padding: 0 1;
    }
    Doctor #doctor-says { height: auto; padding: 0 1; color: $foreground-muted; }
    """

    def __init__(self, api: EngineApi) -> None:
        super().__init__()
        self._api = api
        self._found: list[Finding] = []
        self._told = ""
        """How it ended; empty while it goes on"""
        self._due = False
        """What has come is drawn soon, together"""
        self._says = Static("", id="doctor-says", markup=False)
        self._list = Findings(id="doctor-findings")

    def compose(self) -> ComposeResult:
        with Vertical(id="doctor-box") as box:
            box.border_title = "Doctor"
            box.border_subtitle = "y copies its command · r looks again · escape closes"
            yield self._says
            yield self._list

    def on_mount(self) -> None:
        self._list.focus()
        self.action_look()

    def action_look(self) -> None:
        self._found, self._told = [], ""
        self._draw()
        self._look()

    @work(thread=True, exclusive=True)
    def _look(self) -> None:
        worker = get_current_worker()

        def found(finding: Finding) -> None:
            if not worker.is_cancelled:
                self.app.call_from_thread(self._take, finding)

        try:
            result: Sequence[Finding] | EngineError = self._api.doctor(found)
        except EngineError as error:
            result = error
        if not worker.is_cancelled:
            self.app.call_from_thread(self._end, result)

    def _take(self, finding: Finding) -> None:
        self._found.append(finding)
        self._draw_soon()

    def _end(self, result: Sequence[Finding] | EngineError) -> None:
        if isinstance(result, EngineError):
            self._told = f"▲ {result}"
        else:
            self._found, self._told = list(result), counted(result)
        self._draw_soon()

    def _draw_soon(self) -> None:
        if not self._due and self._list.is_attached:
            self._due = True
            self.set_timer(TOGETHER_S, self._draw)

    def _draw(self) -> None:
        self._due = False
        if self._list.is_attached:
            so_far = f" {counted(self._found)}" if self._found else ""
            self._says.update(self._told or f"Looking the machine over …{so_far}")
            self._list.show(self._found)

    def action_copy(self) -> None:
        finding = self._list.chosen
        if finding and finding.command:
            self.app.copy_to_clipboard(finding.command)
            self.notify(finding.command, title="Copied", timeout=NOTICE_S, markup=False)
        else:
            self.notify("This finding has no command.", severity="warning", timeout=NOTICE_S, markup=False)
