"""A question to the driver that is asked now and then, beside what is sampled: whoever takes long delays nobody."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from engine.observe.nvml import DriverError, Nvml

Answer = TypeVar("Answer")

DUE_FROM = 0.9
"""Of the time between two questions: who looks at round seconds and comes a moment early would else miss a whole one"""
STUCK_AFTER_S = 5.0
"""A driver that takes longer is taken for hung"""


class Paced(Generic[Answer]):
    """For one thread that looks; the question is asked in another, and never twice at once."""

    def __init__(self, question: Callable[[Nvml], Answer], every_s: float) -> None:
        self._question = question
        self._every_s = every_s
        self._asked_at = float("-inf")
        """On the monotonic clock, as all times here"""
        self._answered = threading.Event()
        self._answered.set()
        self._nvml: Nvml | None = None
        """Who was asked last"""
        self._answer: Answer | None = None

    def look(self, nvml: Nvml) -> Answer | None:
        """The last answer; None while there is none, and when the next is long overdue. Asks when it is time to.

        A driver that is taken up anew is asked at once; until it answers, what was known before holds.
        """
        now, answer = time.monotonic(), self._answer
        due = now - self._asked_at >= self._every_s * DUE_FROM
        if self._answered.is_set() and (due or self._nvml is not nvml):
            self._asked_at, self._nvml = now, nvml
            self._answered.clear()
            threading.Thread(target=self._ask, args=(nvml,), name="gpu details", daemon=True).start()
        return None if self.stuck else answer

    @property
    def stuck(self) -> bool:
        return not self._answered.is_set() and time.monotonic() - self._asked_at > STUCK_AFTER_S

    def settle(self, limit_s: float) -> bool:
        """Waits for the answer to what has been asked; whether it came."""
        return self._answered.wait(limit_s)

    def _ask(self, nvml: Nvml) -> None:
        try:
            with nvml.kept():
                self._answer = self._question(nvml)
        except DriverError:  # which what is sampled says, too
            self._answer = None
        finally:
            self._answered.set()
