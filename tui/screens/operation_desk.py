"""Changes are asked for here, for the main screen: each is shown first, and its end is told."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.api import EngineApi
from engine.errors import EngineError
from engine.request import Action, Request
from engine.snapshot import Model, OperationStatus, Outcome, Snapshot
from tui import operation_words as words

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.notifications import SeverityLevel

    from tui.screens.dialog import Dialog
    from tui.screens.main import MainScreen

NOTICE_S = 3.0
FAILURE_NOTICE_S = 8.0


class OperationDesk:
    def __init__(self, screen: "MainScreen", api: EngineApi, template: Request) -> None:
        """`template`: who asks and how, for each request."""
        self._screen = screen
        self._api = api
        self._template = template
        self._told: set[str] | None = None
        """Operations whose end has been told; None until the first snapshot, whose ends are old news"""

    # -- what is asked for --------------------------------------------------------------------------------------------

    def ask(self, action: Action, model: Model, snapshot: Snapshot) -> None:
        """Shows what it would do, and asks."""
        request = replace(self._template, action=action, name=model.name)
        self._screen.app.push_screen(self._dialog(request, model, snapshot), self._submit)

    def _dialog(self, request: Request, model: Model, snapshot: Snapshot) -> "Dialog[Request]":
        match request.action:
            case Action.SWAP:
                from tui.screens.swap import ConfirmSwap

                return ConfirmSwap(self._api, request, model, snapshot)
            case Action.ADOPT:
                from tui.screens.adopt import Adopt

                return Adopt(self._api, request)
        from tui.screens.confirm import Confirm

        return Confirm(self._api, request, model)

    def _submit(self, request: Request | None) -> None:
        """In a thread: a process is begun for it."""
        if request:
            self._in_thread(partial(self._api.submit, request))
            self._screen.operation_begun()

    def cancel(self, status: OperationStatus) -> None:
        from tui.screens.question import Question

        asked = Question(f"cancel {status.title}?", words.cancelled(status), yes="Cancel it", no="Let it go on")
        self._screen.app.push_screen(asked, partial(self._cancel, status))

    def _cancel(self, status: OperationStatus, sure: bool | None) -> None:  # noqa: FBT001
        if sure:
            self._in_thread(partial(self._api.cancel, status.id))

    def recover(self, status: OperationStatus) -> None:
        from tui.screens.recover import Recover

        self._screen.app.push_screen(Recover(status), partial(self._settle, status))

    def _settle(self, status: OperationStatus, how: Action | None) -> None:
        if how:
            self._submit(replace(self._template, action=how, name=status.id))

    def _in_thread(self, do: "Callable[[], None]") -> None:
        def work() -> None:
            try:
                do()
            except EngineError as error:
                self._screen.app.call_from_thread(self._complain, str(error))

        self._screen.run_worker(work, thread=True)

    def _complain(self, sentence: str) -> None:
        self._screen.notify(sentence, severity="warning", timeout=FAILURE_NOTICE_S, markup=False)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def take(self, snapshot: Snapshot) -> None:
        """With every snapshot."""
        if snapshot.loading:
            return
        ended = {status.id: status for status in snapshot.operations if status.outcome is not Outcome.RUNNING}
        if self._told is not None:
            for id_ in ended.keys() - self._told:
                self._tell(ended[id_])
        self._told = (self._told or set()) | ended.keys()

    def _tell(self, status: OperationStatus) -> None:
        severity: SeverityLevel = "information"
        if status.outcome in (Outcome.FAILED, Outcome.INTERRUPTED):
            severity = "error"
        elif status.outcome is not Outcome.DONE:
            severity = "warning"
        self._screen.notify(
            status.message or ("Press u to finish it or to roll it back." if status.unsettled else ""),
            title=f"{status.title}: {words.ending(status)}",
            severity=severity,
            timeout=NOTICE_S if severity == "information" else FAILURE_NOTICE_S,
            markup=False,
        )
