"""Notices of what runs are told here, for the main screen: once, with the bell, when one begins, and when it ends."""

from typing import TYPE_CHECKING

from engine.deployment import State
from engine.notice import Notice, Rule
from engine.snapshot import Model, Snapshot
from tui import format as write

if TYPE_CHECKING:
    from tui.screens.main import MainScreen

BEGUN_NOTICE_S = 8.0
ENDED_NOTICE_S = 3.0
OLD_S = 5.0
"""What holds within so short a time after the console has seen everything, held before"""
ENDINGS = {
    Rule.NO_ANSWER: "It answers again.",
    Rule.CANARY: "It answers prompts again.",
    Rule.FAILURES: "No more requests failed in the last minute than may.",
    Rule.WAITING: "No more requests wait than may.",
    Rule.KV_CACHE: "Its KV cache has room again.",
    Rule.TTFT_P99: "First tokens come in time again.",
}


class NoticeDesk:
    def __init__(self, screen: "MainScreen", *, bell: bool) -> None:
        self._screen = screen
        self._bell = bell
        self._told: dict[tuple[str, Rule], Notice] = {}
        self._began: float | None = None
        """When the first complete snapshot came"""

    def take(self, snapshot: Snapshot) -> None:
        """With every snapshot."""
        if snapshot.loading:
            return
        self._began = self._began or snapshot.at
        holding = {(model.name, notice.rule): notice for model in snapshot.models for notice in model.notices}
        begun = [(name, notice) for (name, rule), notice in holding.items() if (name, rule) not in self._told]
        ended = [(name, notice) for (name, rule), notice in self._told.items() if (name, rule) not in holding]
        self._told = holding
        news = [(name, notice) for name, notice in begun if notice.since > self._began + OLD_S]
        for name, notice in news:
            self._screen.notify(
                notice.text, title=f"! {name}", severity="warning", timeout=BEGUN_NOTICE_S, markup=False
            )
        if news and self._bell:
            self._screen.app.bell()
        for name, notice in ended:
            if _goes_on(snapshot.model(name)):
                lasted = write.duration(snapshot.at - notice.since)
                self._screen.notify(
                    f"{ENDINGS[notice.rule]} It lasted {lasted}.", title=name, timeout=ENDED_NOTICE_S, markup=False
                )


def _goes_on(model: Model | None) -> bool:
    """What is stopped, or changed, has no need to be told well."""
    return model is not None and model.state is State.READY
