"""Prompts that were sent from this console, by deployment. Knows no widget."""

import time
from collections import deque
from dataclasses import dataclass, field

from engine.api import Cancel
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Timing, Token
from tui.widgets.state import Look

KEPT = 50
"""Prompts of one deployment"""

LOOKS = {
    None: Look("◐", "running", "text-warning"),
    PromptOutcome.DONE: Look("●", "done", "text-success"),
    PromptOutcome.CANCELLED: Look("■", "cancelled", "text-muted"),
    PromptOutcome.FAILED: Look("▲", "failed", "text-error"),
}


@dataclass(eq=False)
class PromptRun:
    """One prompt. `receive` may be called on any thread; all else belongs to the screen's."""

    request: PromptRequest
    began: float = field(default_factory=time.monotonic)
    cancel: Cancel | None = None
    cancelling: bool = False
    result: PromptResult | None = None
    announced: bool = False
    """A message says that there is something to take, and was not handled yet"""
    _incoming: deque[PromptEvent] = field(default_factory=deque)
    _pieces: list[str] = field(default_factory=list)
    _first_s: float | None = None
    _last_s: float | None = None

    @property
    def text(self) -> str:
        return self.result.text if self.result else "".join(self._pieces)

    @property
    def look(self) -> Look:
        return LOOKS[self.result.outcome if self.result else None]

    @property
    def timing(self) -> Timing:
        """The result's, or what is known so far: then every piece counts as one token."""
        if self.result is not None:
            return self.result.timing
        return Timing(
            first_token_s=self._first_s,
            last_token_s=self._last_s,
            total_s=time.monotonic() - self.began,
            tokens_out=len(self._pieces),
        )

    def receive(self, event: PromptEvent) -> bool:
        """Whether it has to be announced."""
        self._incoming.append(event)
        announced, self.announced = self.announced, True
        return not announced

    def take(self) -> str:
        """The text that has come since the last call."""
        self.announced = False  # before looking: what comes from here on is announced again
        fresh: list[str] = []
        while self._incoming:
            event = self._incoming.popleft()
            if isinstance(event, Token):
                fresh.append(event.text)
                self._pieces.append(event.text)
                self._first_s = event.at_s if self._first_s is None else self._first_s
                self._last_s = event.at_s
            else:
                self.result = event
        return "".join(fresh)

    def fail(self, sentence: str) -> None:
        """It could not even be sent."""
        self.result = PromptResult(self.request, PromptOutcome.FAILED, "", error=sentence)


@dataclass(eq=False)
class PromptSession:
    """What the operator typed, sent and looks at, of one deployment."""

    draft: str = ""
    max_tokens: str = "256"
    temperature: str = ""
    served_model: str = ""
    runs: deque[PromptRun] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Newest first"""
    shown: PromptRun | None = None

    @property
    def running(self) -> PromptRun | None:
        return self.runs[0] if self.runs and self.runs[0].result is None else None

    def add(self, run: PromptRun) -> None:
        self.runs.appendleft(run)
        self.shown = run
