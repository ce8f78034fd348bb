"""Prompts on their way: they are sent, to one deployment or to two, and what comes back is taken to the screen."""

import time
from functools import partial
from typing import TYPE_CHECKING

from textual.message import Message

from engine.api import EngineApi
from engine.errors import EngineError
from engine.inference.prompt import PromptEvent
from tui.widgets.pane import Pane
from tui.widgets.prompt_reasoning import Piece
from tui.widgets.prompt_runs import PromptRun, PromptSession

if TYPE_CHECKING:
    from engine.snapshot import Model, Snapshot

REPAINT_S = 0.05
"""The least time between two repaints of a growing answer"""
PAINT_SHARE, LONGEST_PAINT_S = 3, 0.2
"""So many times what the last repaint took, as far as that counts: on a busy machine keys come first"""


class PlaygroundSending(Pane):
    """A pane with a `PromptSession` a deployment."""

    class Arrived(Message):
        """Something came from the engine's thread for a prompt."""

        def __init__(self, run: PromptRun) -> None:
            super().__init__()
            self.run = run

    def __init__(self, api: EngineApi, *, id: str | None = None) -> None:
        super().__init__(api, id=id)
        self._model: Model | None = None
        self._snapshot: Snapshot | None = None
        self._session = PromptSession()
        self._sessions: dict[str, PromptSession] = {}
        self._followers: dict[PromptRun, PromptRun] = {}
        """What is sent when another prompt has been answered"""
        self._pairs: dict[PromptRun, PromptRun] = {}
        """Prompts under way that were sent to two deployments: cancelled together"""
        self._painted_at = self._paint_s = 0.0

    def on_unmount(self) -> None:
        for session in self._sessions.values():
            if session.running is not None and session.running.cancel is not None:
                session.running.cancel()

    def session_of(self, name: str) -> PromptSession:
        return self._sessions.setdefault(name, PromptSession())

    def new_run(self, run: PromptRun) -> PromptRun:
        """It belongs to its deployment's session from now on."""
        model = self._snapshot.model(run.deployment) if self._snapshot else None
        if model and model.deployment:
            from engine.prompts.kept import run_of

            run.what, run.start = model.deployment.what, run_of(model.deployment)
        self.session_of(run.deployment).add(run)
        return run

    def begin(self, run: PromptRun) -> None:
        run.begin()
        try:
            run.cancel = self.api.ask(run.deployment, run.request, partial(self._receive, run))
        except EngineError as error:
            run.fail(str(error))
            self._ended(run)

    def begin_both(self, first: PromptRun, second: PromptRun, *, at_once: bool) -> None:
        """`at_once`: otherwise the second is sent when the first has ended."""
        self._pairs[first], self._pairs[second] = second, first
        if at_once:
            self.begin(second)
        else:
            second.waiting = True
            self._followers[first] = second
        self.begin(first)

    def cancel(self, run: PromptRun) -> None:
        """It, and what was sent with it to another deployment."""
        for one in (run, self._pairs.get(run)):
            if one is None or one.result is not None or one.cancelling:
                continue
            if one.waiting:
                self._followers = {before: after for before, after in self._followers.items() if after is not one}
                one.give_up()
                self._ended(one)
            elif one.cancel is not None:
                one.cancelling = True
                one.cancel()

    # -- what comes from the engine -----------------------------------------------------------------------------------

    def _receive(self, run: PromptRun, event: PromptEvent) -> None:
        """On the engine's thread."""
        if not run.receive(event):
            return
        try:
            self.post_message(self.Arrived(run))
        except RuntimeError:  # the screen closed just now: nobody is left to be told
            return

    def on_playground_sending_arrived(self, event: Arrived) -> None:
        event.stop()
        wait = self._painted_at + max(REPAINT_S, PAINT_SHARE * self._paint_s) - time.monotonic()
        if wait > 0:
            self.set_timer(wait, partial(self._take, event.run))
        else:
            self._take(event.run)

    def _take(self, run: PromptRun) -> None:
        fresh = run.take()
        if run is self._session.shown:
            self._painted_at = time.monotonic()
            self.grown(run, fresh)
            self.call_after_refresh(self._painted)
        if run.result is not None and not run.settled:
            self._ended(run)

    def _painted(self) -> None:
        self._paint_s = min(LONGEST_PAINT_S, time.monotonic() - self._painted_at)

    def _ended(self, run: PromptRun) -> None:
        run.settled = True
        self._pairs.pop(run, None)
        self.session_of(run.deployment).ended(run)
        follower = self._followers.pop(run, None)
        if follower is not None:
            self.begin(follower)
        self.ended(run)

    def grown(self, run: PromptRun, fresh: list[Piece] | None) -> None:
        """There is more of the answer that is shown; None as of `PromptRun.take`."""
        raise NotImplementedError

    def ended(self, run: PromptRun) -> None:
        """Any prompt has ended; it may belong to another deployment."""
        raise NotImplementedError
