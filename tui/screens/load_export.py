"""The question to which file a load test is written."""

from datetime import datetime
from pathlib import Path

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from engine.api import EngineApi
from engine.errors import EngineError
from engine.load_result import LoadResult

FORMATS = {
    ".html": "a page with tables and pictures",
    ".json": "the whole result",
    ".csv": "a line a request",
    ".svg": "a picture of the levels",
}


class LoadExport(ModalScreen[tuple[Path, int] | None]):
    """Ends with the file that was written and how many requests it lacks, or with None."""

    BINDINGS = [
        Binding("escape", "no", "no", id="load_export.no", tooltip="Write no file"),
        Binding("down", "turn(1)", "other kind", show=False, tooltip="The next kind of file"),
        Binding("up", "turn(-1)", "other kind", show=False, tooltip="The previous kind of file"),
    ]
    DEFAULT_CSS = """
    LoadExport {
        & > #export-box {
            width: 90%; max-width: 90; height: auto; border: round $accent; background: $surface; padding: 0 1;
        }
        & .label { color: $foreground-muted; }
        & #export-says { height: auto; margin-bottom: 1; color: $foreground-muted; }
        & #export-buttons { height: 1; align-horizontal: right; }
        & #export-buttons Button { margin-left: 2; }
    }
    """

    def __init__(self, api: EngineApi, result: LoadResult) -> None:
        super().__init__()
        self._api = api
        self._result = result
        self._working = False

    def compose(self) -> ComposeResult:
        began = datetime.fromtimestamp(self._result.began_at)
        name = f"load-{self._result.deployment.replace('/', '-')}-{began:%Y%m%d-%H%M%S}.html"
        with Vertical(id="export-box") as box:
            box.border_title = f"save the load test of {self._result.deployment}"
            yield Static("Name of a new file", classes="label")
            yield Input(name, id="export-name", compact=True, select_on_focus=False)
            yield Static("", id="export-says", markup=False)
            with Horizontal(id="export-buttons"):
                yield Button("Save (enter)", variant="primary", id="yes", compact=True)
                yield Button("Cancel (escape)", id="no", compact=True)

    def on_mount(self) -> None:
        name = self.query_one(Input)
        name.cursor_blink = False
        name.focus()
        self._check()

    @property
    def _path(self) -> Path:
        return Path(self.query_one(Input).value.strip())

    @on(Input.Changed)
    def _check(self) -> None:
        if self._working:
            return
        kind = FORMATS.get(self._path.suffix.lower())
        others = ", ".join(suffix for suffix in FORMATS)
        self._say(
            f"{kind} · ↑ ↓ another kind" if kind else f"▲ The name ends with {others}: that says what is written."
        )
        self.query_one("#yes", Button).disabled = kind is None

    def _say(self, sentence: str) -> None:
        self.query_one("#export-says", Static).update(sentence)

    def action_turn(self, by: int) -> None:
        kinds, path = list(FORMATS), self._path
        at = kinds.index(path.suffix.lower()) + by if path.suffix.lower() in kinds else 0
        field = self.query_one(Input)
        field.value = str(path.with_suffix(kinds[at % len(kinds)])) if path.name else field.value
        field.cursor_position = len(field.value)

    @on(Input.Submitted)
    @on(Button.Pressed, "#yes")
    def _go(self) -> None:
        if not self._working and self._path.suffix.lower() in FORMATS:
            self._working = True
            self.query_one("#yes", Button).disabled = True
            self._say("Writing …")
            self._write(self._path)

    @work(thread=True)
    def _write(self, path: Path) -> None:
        try:
            full = path.expanduser().absolute()
            if full.exists():
                self.app.call_from_thread(self._refused, f"{full} exists already, and is left as it is.")
                return
            lacking = self._api.export_load(self._result, full)
        except (EngineError, OSError, RuntimeError) as error:
            self.app.call_from_thread(self._refused, str(error))
        else:
            self.app.call_from_thread(self._done, full, lacking)

    def _done(self, path: Path, lacking: int) -> None:
        if self.is_current:  # it may have been left meanwhile; the file is there
            self.dismiss((path, lacking))

    def _refused(self, sentence: str) -> None:
        if not self.is_mounted:
            return
        self._working = False
        self._say(f"▲ {sentence}")
        self.query_one("#yes", Button).disabled = False

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        self.dismiss(None)
