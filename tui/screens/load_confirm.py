"""The question before a load test: what will be sent, and who else will feel it."""

from textual.app import ComposeResult
from textual.widgets import Static

from engine.errors import EngineError
from engine.load_plan import LoadPlan
from tui.screens.dialog import Dialog
from tui.widgets.load_words import what_is_sent


class LoadConfirm(Dialog[bool]):
    def __init__(self, name: str, plan: LoadPlan, whom: str, under_way: float | None) -> None:
        """`whom`: how it is put, in words.

        `under_way`: requests that the deployment is answering now; None where nobody knows.
        """
        super().__init__(f"load test of {name}?", "Begin", "primary")
        self._name = name
        self._plan = plan
        self._whom = whom
        self._under_way = under_way

    def compose_body(self) -> ComposeResult:
        yield Static(
            f"{what_is_sent(self._plan)}{', ' if self._whom else ''}{self._whom}.\n"
            f"Others who use {self._name} will feel it. X stops it, and so does the end of this console, and of"
            f" {self._name}; what was measured until then is kept.",
            id="load-confirm-text",
            markup=False,
        )

    def on_mount(self) -> None:
        self.offer(possible=False)
        if self._plan.workload.file:
            self.ask_engine(self._check_file, self._checked)
        else:
            self._checked(None)

    def answer(self) -> bool:
        return True

    def _check_file(self) -> None:
        """Raises `EngineError`."""
        from engine.load.prompt_file import read

        if file := self._plan.workload.file:
            read(file)

    def _checked(self, result: EngineError | None) -> None:
        if result:
            self.trouble(str(result))
            self.offer(possible=False)
            return
        count = round(self._under_way or 0)
        if count:
            requests = "1 request is" if count == 1 else f"{count} requests are"
            self.trouble(f"{self._name} is in use: {requests} being answered right now.")
        self.offer(possible=True, anyway=bool(count))
