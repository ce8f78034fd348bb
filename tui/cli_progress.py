"""An operation as it goes, on standard error: each step as it begins and ends, and what is out of the ordinary."""

import os
import sys
import threading
from collections.abc import Hashable
from types import TracebackType

from engine.snapshot import OperationStatus, Outcome, Step
from engine.startup import Phase
from tui import format as write
from tui.operation_words import cause, counted, pace, usual, what
from tui.widgets.glyphs import cut

TICK_S = 1.0
SHORT_ID = 8
"""Characters of an operation's id that the commands show; they take any beginning that only one has"""


def short_id(operation: str) -> str:
    return operation[:SHORT_ID]


class Progress:
    """A context within which one operation is followed; `show` is told its states.

    On a terminal the last line is the step under way, rewritten once a second. Elsewhere nothing is rewritten: each
    phase of a start is told as it begins.
    """

    def __init__(self) -> None:
        self.latest: OperationStatus | None = None
        self._said: set[Hashable] = set()
        self._planned = 0
        """Steps that lead forward, as long as it goes forward"""
        self._live = ""
        """What stands in the line that is rewritten"""
        self._rewrites = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._ticker.join()
        self._erase()

    def show(self, status: OperationStatus) -> None:
        with self._lock:
            entered = self.latest is None or _key(self.latest.current) != _key(status.current)
            self.latest = status
            told = len(self._said)
            self._tell(status)
            if entered or len(self._said) != told:
                self._draw(status)

    def _tick(self) -> None:
        while not self._over.wait(TICK_S):
            with self._lock:
                if self.latest is None:
                    continue
                try:
                    self._tell_late(self.latest)
                    self._draw(self.latest)
                except OSError:
                    return  # the terminal is gone; the command itself meets that with its next word

    def _tell(self, status: OperationStatus) -> None:
        # What goes is known only after the first look.
        self._once(("title", status.title), f"{status.title} ({short_id(status.id)})")
        if status.estimate:
            self._once("estimate", f"start: {usual(status.estimate)}")
        for note in status.notes:
            self._once(("note", note), note)
        there = [step for step in status.steps if not step.undo]
        back = [step for step in status.steps if step.undo]
        ahead = not back and all(step.outcome in (None, Outcome.RUNNING, Outcome.DONE) for step in there)
        if ahead or not self._planned:
            self._planned = len(there)  # those that a failure leaves undone are taken out
        for step in there:
            self._tell_step(step, self._titled(status, step))
        for step in back:
            if step.outcome is not None:
                self._once("back", f"rolling back: {cause(status)}")
            self._tell_step(step, self._titled(status, step))
        self._tell_late(status)

    def _tell_step(self, step: Step, titled: str) -> None:
        if step.outcome is Outcome.RUNNING:
            if not self._rewrites:
                self._once(("began", _key(step)), titled)
                if phase := next((phase for phase in Phase if step.detail.startswith(phase.value)), None):
                    self._once(("phase", _key(step), phase), f"{titled}: {step.detail}")
        elif step.outcome is not None:
            self._once(("ended", _key(step)), f"{titled}{_ending(step)}")

    def _titled(self, status: OperationStatus, step: Step) -> str:
        """`2/9 mixtral: drain`; `check …` and, when that has ended, `check`: how many there are it only finds out."""
        title = what(status, step)
        place = [one for one in status.steps if one.undo == step.undo].index(step) + 1
        if step.undo:
            return f"back {place} {title}"  # how many steps it takes to go back shows only on the way
        if counted(status, step):
            return f"{place}/{max(self._planned, place)} {title}"
        return f"{title} …" if step.outcome is Outcome.RUNNING else title

    def _tell_late(self, status: OperationStatus) -> None:
        if ":" in (late := pace(status, write.now())):
            self._once("late", late)

    def _once(self, key: Hashable, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._erase()
            print(text, file=sys.stderr, flush=True)

    def _draw(self, status: OperationStatus) -> None:
        """The step under way, with what changes about it."""
        step = status.current
        if not self._rewrites or not step:
            return
        self._erase()
        took = write.duration(write.now() - step.began_at) if step.began_at else ""
        facts = [self._titled(status, step), took, pace(status, write.now()), step.detail]
        self._live = cut("  ".join(fact for fact in facts if fact), _columns() - 1).rstrip()
        print(self._live, end="", file=sys.stderr, flush=True)

    def _erase(self) -> None:
        if self._live:
            print(f"\r{cut('', _columns() - 1)}\r", end="", file=sys.stderr, flush=True)
            self._live = ""


def _key(step: Step | None) -> Hashable:
    """Its place among the steps can change: those that turn out not to be needed are left out."""
    return step and (step.kind, step.began_at)


def _ending(step: Step) -> str:
    took = write.duration(step.ended_at - step.began_at) if step.ended_at and step.began_at else ""
    if step.outcome is not Outcome.DONE and step.outcome:
        took = f"{step.outcome.value} after {took}" if took else step.outcome.value
    told = ", ".join(fact for fact in (took, step.detail) if fact)
    return f": {told}" if told else ""


def _columns() -> int:
    """Of standard error's terminal; standard output may be a file."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
