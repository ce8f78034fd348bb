"""The question before a container that was started by hand is adopted."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from engine.api import EngineApi
from engine.errors import EngineError
from engine.plan import Adoption
from engine.request import Request
from tui.screens.dialog import Dialog
from tui.widgets.plan_text import Inks, PlanText, points


class Adopt(Dialog[Request]):
    def __init__(self, api: EngineApi, request: Request) -> None:
        super().__init__(f"adopt {request.name}?", "Adopt")
        self._api = api
        self._request = request

    def compose_body(self) -> ComposeResult:
        yield Static("Reading how it was started …", id="adopt-says", markup=False)
        yield PlanText(id="adopt-profile")

    def on_mount(self) -> None:
        self.offer(possible=False)
        self.ask_engine(lambda: self._api.plan_adoption(self._request.name), self._take)

    def answer(self) -> Request:
        return self._request

    def _take(self, result: Adoption | EngineError) -> None:
        self.query_one("#adopt-says").display = False
        if isinstance(result, EngineError):
            self.trouble(str(result))
        else:
            shown = self.query_one("#adopt-profile", PlanText)
            shown.update(Group(*_described(result, shown.inks)))
        self.offer(possible=isinstance(result, Adoption))


def _described(adoption: Adoption, inks: Inks) -> Iterable[RenderableType]:
    yield Text.assemble(
        f"{adoption.container} becomes the deployment ",
        (adoption.name, "bold"),
        ". Nothing about the container changes; from then on it can be stopped, swapped and removed here.",
    )
    if adoption.notes:
        yield points("!", adoption.notes, inks.warning)
    yield Text.assemble("\n", (adoption.profile_path, "bold"), ("  is written", inks.muted), overflow="fold")
    yield Padding(Text(adoption.profile_text.rstrip("\n"), overflow="fold"), (0, 0, 0, 2))
