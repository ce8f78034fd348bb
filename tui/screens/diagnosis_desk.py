"""Failures are explained here, for the main screen, and what was mended is started."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.api import EngineApi
from engine.deployment import State
from engine.request import Action
from engine.snapshot import Model
from tui.actions import RUNNING

if TYPE_CHECKING:
    from tui.screens.duplicate import Duplicated
    from tui.screens.main import MainScreen
    from tui.screens.operation_desk import OperationDesk
    from tui.screens.profile_desk import ProfileDesk


class DiagnosisDesk:
    def __init__(
        self, screen: "MainScreen", api: EngineApi, profiles: "ProfileDesk", operations: "OperationDesk"
    ) -> None:
        self._screen = screen
        self._api = api
        self._profiles = profiles
        self._operations = operations

    def explain(self, model: Model) -> None:
        from tui.screens.diagnosis import Explain

        snapshot = self._screen.snapshot
        read_only = (
            f"Nothing may be changed from here: tritontui is read-only ({snapshot.read_only})."
            if (snapshot and snapshot.read_only)
            else ""
        )
        screen = Explain(self._api, model, self._profiles.taken, read_only)
        self._screen.app.push_screen(screen, partial(self._mended, model))

    def _mended(self, model: Model, copy: "Duplicated | None") -> None:
        """It is started by the usual question; what it is to replace may still hold GPUs and ports."""
        snapshot = self._screen.snapshot
        if not copy or not snapshot:
            return
        self._profiles.made(copy)
        holds = model.state in RUNNING and not model.foreign
        mended = replace(model, name=copy.name, state=State.ABSENT, profile_path=str(copy.path), deployment=None)
        self._operations.ask(Action.SWAP if holds else Action.START, mended, snapshot)
