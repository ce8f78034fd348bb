"""Canaries: a tiny prompt now and then, which finds an engine that is dead and still says that it is ready."""

import random
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.api import Cancel
from engine.deployment import Deployment, Service
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.inference.prompt import PromptEvent, PromptRequest
    from engine.profile import Canary

    Ask = Callable[[Service, PromptRequest, Callable[[PromptEvent], None]], Cancel]
    """As `engine.inference.runner.PromptRunner.ask`"""

MAX_TOKENS = 4
"""The first one may have no text"""
ENOUGH = 2
"""Failures in a row that are told"""
AGAIN_S = 10.0
"""After the first failure"""
SPARE_S = 5.0
"""The deadline is kept here; the prompt's own lies so much later"""
LONGEST_WORD = 160
KEPT = 8
"""Of a prompt's events: how it ended comes last"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A canary of a deployment that says that it is ready, and is left alone by operations."""

    deployment: Deployment
    canary: "Canary"
    progress: Callable[[float], bool]
    """Whether the engine has computed anything since a time: then it is busy, and not dead"""


@dataclass(frozen=True, slots=True)
class Unanswered:
    since: float
    """When the first that failed was sent, in seconds since the epoch"""
    why: str
    """Without a full stop; cleaned"""


@dataclass(slots=True)
class _Cage:
    canary: "Canary"
    due_at: float
    asked_at: float = 0.0
    cancel: Cancel | None = None
    """Of the prompt that is under way"""
    events: "deque[PromptEvent]" = field(default_factory=lambda: deque(maxlen=KEPT))
    """What came of it last; another thread's"""
    failures: int = 0
    since: float = 0.0
    why: str = ""


class Canaries:
    """`look`, again and again, from one thread; prompts go on in the asker's. Never two of one run at once.

    A run is told from others by whatever the caller tells them by.
    """

    def __init__(self, ask: "Ask") -> None:
        self._ask = ask
        self._cages: dict[Hashable, _Cage] = {}

    def of(self, run: Hashable) -> Unanswered | None:
        """None while it answers, and until it is sure that it does not."""
        cage = self._cages.get(run)
        return Unanswered(cage.since, cage.why) if cage and cage.failures >= ENOUGH else None

    def look(self, wanted: Mapping[Any, Wanted], now: float) -> None:
        """Asks where it is time to. What is not wanted any more is cancelled and forgotten."""
        for run, cage in list(self._cages.items()):
            if run not in wanted or wanted[run].canary != cage.canary:
                _cancel(self._cages.pop(run))
        for run, one in wanted.items():
            if run not in self._cages:
                self._cages[run] = _Cage(one.canary, now + one.canary.every * random.random())  # noqa: S311 (no secret)
            cage = self._cages[run]
            if cage.cancel:
                self._hear(cage, one, now)
            elif now >= cage.due_at:
                self._send(cage, one.deployment.service, now)

    def close(self) -> None:
        self.look({}, 0.0)

    def _send(self, cage: _Cage, service: Service, now: float) -> None:
        from engine.inference.prompt import PromptRequest, Sampling

        request = PromptRequest(
            cage.canary.prompt,
            sampling=Sampling(max_tokens=MAX_TOKENS),
            connect_timeout_s=cage.canary.timeout + SPARE_S,
            idle_timeout_s=cage.canary.timeout + SPARE_S,
        )
        cage.asked_at, cage.events = now, deque(maxlen=KEPT)
        cage.cancel = self._ask(service, request, cage.events.append)

    def _hear(self, cage: _Cage, one: Wanted, now: float) -> None:
        from engine.inference.prompt import PromptOutcome, PromptResult

        events = tuple(cage.events)
        result = next((event for event in events if isinstance(event, PromptResult)), None)
        if result and result.no_text_model:  # there is nothing to be asked
            self._settle(cage, now)
        elif result and result.outcome is PromptOutcome.FAILED:
            # A server that took the connection and said no has answered clearly.
            clear = result.timing.connected_s is not None
            self._failed(cage, one, now, clean_line(result.error)[:LONGEST_WORD].rstrip(". "), clear=clear)
        elif result or events:
            cage.failures = 0
            if result:  # until then it is under way
                self._settle(cage, now)
            elif now - cage.asked_at > cage.canary.timeout + SPARE_S:  # it goes on for ever
                _cancel(cage)
                self._settle(cage, now)
        elif now - cage.asked_at > cage.canary.timeout:
            _cancel(cage)
            self._failed(cage, one, now, f"no token came within {cage.canary.timeout:g} s", clear=False)

    def _failed(self, cage: _Cage, one: Wanted, now: float, why: str, *, clear: bool) -> None:
        self._settle(cage, now)
        if one.progress(cage.asked_at):
            cage.failures = 0
            return
        if not cage.failures:
            cage.since = cage.asked_at
        cage.failures += ENOUGH if clear else 1
        cage.why = why
        if cage.failures < ENOUGH:
            cage.due_at = min(cage.due_at, now + AGAIN_S)

    @staticmethod
    def _settle(cage: _Cage, now: float) -> None:
        """It has ended; several consoles' canaries shall not keep step."""
        cage.cancel = None
        cage.due_at = now + cage.canary.every * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)


def _cancel(cage: _Cage) -> None:
    if cage.cancel:
        cage.cancel()
        cage.cancel = None
