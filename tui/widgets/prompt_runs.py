"""Prompts that were sent from this console, by deployment, and earlier ones. Knows no widget."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from engine.api import Cancel
from engine.inference.prompt import PromptEvent, PromptOutcome, PromptRequest, PromptResult, Role, Timing, Token, Turn
from engine.prompt_record import KeptPrompt
from tui import format as write
from tui.widgets.prompt_offers import KnownOffer
from tui.widgets.prompt_reasoning import Following, Piece, only_reasoned, without_reasoning
from tui.widgets.prompt_settings import PromptSettings
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
    deployment: str = ""
    what: str = ""
    """Its image or program, as far as it is known"""
    start: str = ""
    """Which start of the deployment it was, as in `KeptPrompt.run`"""
    at: float = field(default_factory=lambda: write.now())
    began: float = field(default_factory=time.monotonic)
    heard: float = field(default_factory=time.monotonic)
    """When something last came of it"""
    conversing: bool = False
    """The next prompt follows it"""
    waiting: bool = False
    """For another to be answered first"""
    cancel: Cancel | None = None
    cancelling: bool = False
    result: PromptResult | None = None
    settled: bool = False
    """Its end has been taken note of"""
    announced: bool = False
    """A message says that there is something to take, and was not handled yet"""
    _incoming: deque[PromptEvent] = field(default_factory=deque)
    _pieces: list[str] = field(default_factory=list)
    _gaps: list[float] = field(default_factory=list)
    _first_s: float | None = None
    _last_s: float | None = None
    _following: Following = field(default_factory=Following)

    @property
    def text(self) -> str:
        return self.result.text if self.result else "".join(self._pieces)

    @property
    def look(self) -> Look:
        return LOOKS[self.result.outcome if self.result else None]

    @property
    def prompt(self) -> str:
        """What was typed."""
        return self.request.prompt if self.request.tensors is None else self.request.tensors

    @property
    def gaps_s(self) -> tuple[float, ...] | list[float]:
        """Between one piece of text and the next."""
        return self.result.gaps_s if self.result else self._gaps

    @property
    def takes_text(self) -> bool:
        """Otherwise its inputs are tensors, and there are no tokens to be counted."""
        return self.request.tensors is None

    @property
    def reasons(self) -> bool:
        """The last that came is said to itself, and no answer yet; or none has come at all."""
        return only_reasoned(self.result.text) if self.result else self._following.thinking

    @property
    def silent_s(self) -> float:
        """Since something last came of it; 0 when nothing is to come."""
        return 0.0 if self.result or self.waiting else time.monotonic() - self.heard

    def begin(self) -> None:
        """It is sent now."""
        self.waiting = False
        self.at, self.began = write.now(), time.monotonic()
        self.heard = self.began

    @property
    def timing(self) -> Timing:
        """The result's, or what is known so far: then every piece counts as one token."""
        if self.result is not None:
            return self.result.timing
        if self.waiting:
            return Timing()
        return Timing(
            first_token_s=self._first_s,
            last_token_s=self._last_s,
            total_s=time.monotonic() - self.began,
            tokens_out=len(self._pieces),
        )

    @property
    def so_far(self) -> PromptResult:
        """The result, or what it would be if it ended now."""
        if self.result is not None:
            return self.result
        text, timing = self.text, replace(self.timing, total_s=None)
        return PromptResult(self.request, PromptOutcome.DONE, text, timing=timing, gaps_s=tuple(self._gaps))

    @property
    def turns_after(self) -> tuple[Turn, ...]:
        """The turns that the next prompt of the conversation follows; one without an answer is none of them."""
        answer = without_reasoning(self.text).strip()
        if self.result is None or not answer:
            return self.request.history
        return (*self.request.history, Turn(Role.USER, self.request.prompt), Turn(Role.ASSISTANT, answer))

    def receive(self, event: PromptEvent) -> bool:
        """Whether it has to be announced."""
        self.heard = time.monotonic()
        self._incoming.append(event)
        announced, self.announced = self.announced, True
        return not announced

    def take(self) -> list[Piece] | None:
        """What has come since the last call; None when text from before it is of another kind than was said."""
        self.announced = False  # before looking: what comes from here on is announced again
        fresh: list[str] = []
        while self._incoming:
            event = self._incoming.popleft()
            if isinstance(event, Token):
                fresh.append(event.text)
                self._pieces.append(event.text)
                if self._last_s is None:
                    self._first_s = event.at_s
                else:
                    self._gaps.append(event.at_s - self._last_s)
                self._last_s = event.at_s
            else:
                self.result = event
        text = "".join(fresh)
        return self._following.feed(text) if self.takes_text else [("answer", text)]

    def fail(self, sentence: str) -> None:
        """It could not even be sent."""
        self.waiting = False
        self.result = PromptResult(self.request, PromptOutcome.FAILED, "", error=sentence)

    def give_up(self) -> None:
        """It shall not be sent any more."""
        self.waiting = False
        self.result = PromptResult(self.request, PromptOutcome.CANCELLED, "")


def earlier_run(kept: KeptPrompt) -> PromptRun:
    return PromptRun(kept.request, kept.deployment, kept.what, kept.run, kept.at, result=kept.result, settled=True)


@dataclass(eq=False)
class PromptSession:
    """What the operator typed, sent and looks at, of one deployment."""

    draft: str = ""
    settings: PromptSettings = field(default_factory=PromptSettings)
    offer: KnownOffer = field(default_factory=KnownOffer)
    runs: deque[PromptRun] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Newest first"""
    shown: PromptRun | None = None
    turns: tuple[Turn, ...] = ()
    """Those that the next prompt of a chat follows"""
    editing: PromptRun | None = None
    """The next prompt of the chat takes its place"""

    @property
    def running(self) -> PromptRun | None:
        return next((run for run in self.runs if run.result is None), None)

    def add(self, run: PromptRun) -> None:
        self.runs.appendleft(run)
        self.shown = run
        self.editing = None

    def ended(self, run: PromptRun) -> None:
        """The conversation goes on after it."""
        if run.conversing and run is self.runs[0]:
            self.turns = run.turns_after

    def begin_anew(self) -> None:
        self.turns, self.shown, self.editing = (), None, None

    def edit_last(self) -> PromptRun | None:
        """The last prompt, to be put in another way; None when nothing was sent, or it is not answered yet."""
        if not self.runs or self.running:
            return None
        last = self.runs[0]
        if last.conversing and self.turns == last.turns_after:
            self.editing, self.turns, self.shown = last, last.request.history, last
        return last

    def leave_editing(self) -> None:
        if self.editing is not None:
            self.turns = self.editing.turns_after
            self.editing = None

    def without_known(self, kept: Iterable[PromptRun]) -> list[PromptRun]:
        """Earlier runs that are not among those of this console."""
        known = {_mark(run) for run in self.runs if run.result}
        return [run for run in kept if _mark(run) not in known]


def _mark(run: PromptRun) -> tuple[object, ...]:
    """What tells one run from all others, as it comes back from a history."""
    assert run.result is not None  # noqa: S101
    return run.deployment, run.prompt, run.result.text, run.result.error, run.timing.total_s
