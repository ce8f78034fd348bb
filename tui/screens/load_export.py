"""The question to which file a load test is written."""

from datetime import datetime
from pathlib import Path
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widgets import Input

from engine.api import EngineApi
from engine.errors import EngineError, Refused
from engine.load_result import LoadResult
from tui.screens.naming import Naming

FORMATS = {
    ".html": "a page with tables and pictures",
    ".json": "the whole result",
    ".csv": "a line a request",
    ".svg": "a picture of the levels",
}


class LoadExport(Naming[tuple[Path, int]]):
    """Ends with the file that was written and how many requests it lacks, or with None."""

    PARTS = "export"
    LABEL = "Name of a new file"
    YES = "Save"
    DOING = "Writing …"
    BINDINGS: ClassVar[list[BindingType]] = [
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
        began = datetime.fromtimestamp(result.began_at)
        name = f"load-{result.deployment.replace('/', '-')}-{began:%Y%m%d-%H%M%S}.html"
        super().__init__(f"save the load test of {result.deployment}", name)
        self._api = api
        self._result = result

    def objection(self, name: str) -> str:
        return (
            "" if _suffix(name) in FORMATS else f"The name ends with {', '.join(FORMATS)}: that says what is written."
        )

    def hint(self, name: str) -> str:
        return f"{FORMATS[_suffix(name)]} · ↑ ↓ another kind"

    def write(self, name: str) -> tuple[Path, int]:
        try:
            full = _path(name).expanduser().absolute()
            if full.exists():
                raise Refused(f"{full} exists already, and is left as it is.")
            return full, self._api.export_load(self._result, full)
        except (OSError, RuntimeError) as error:  # a path too long, or no home of that name
            raise EngineError(str(error)) from error

    def action_turn(self, by: int) -> None:
        field = self.query_one(Input)
        kinds, path = list(FORMATS), _path(field.value)
        at = kinds.index(_suffix(field.value)) + by if _suffix(field.value) in kinds else 0
        field.value = str(path.with_suffix(kinds[at % len(kinds)])) if path.name else field.value
        field.cursor_position = len(field.value)


def _path(name: str) -> Path:
    return Path(name.strip())


def _suffix(name: str) -> str:
    return _path(name).suffix.lower()
