"""How a step waits: it tells what it waits for, and can be cancelled."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import EngineError


class Cancelled(EngineError):
    """Somebody asked for the operation to be cancelled."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Handed to each step that waits."""

    detail: Callable[[str], None] = lambda _: None
    """Sets what is shown beside the step: what it waits for, and how far that is"""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raises `Cancelled` once that was asked for."""
        if self.cancelled.is_set():
            raise Cancelled("It was cancelled.")

    def pause(self, seconds: float) -> None:
        """Raises `Cancelled` at once when that is asked for."""
        if self.cancelled.wait(max(0.0, seconds)):
            self.check()

    def until(self, deadline: float, every_s: float) -> bool:
        """Pauses; False when the monotonic clock has passed the deadline."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        self.pause(min(every_s, left))
        return True
