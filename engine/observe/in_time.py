"""A question with a deadline, for what may hang: the NVIDIA driver."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class InTime(Generic[Answer]):
    """Asks from any thread. What hangs holds one thread however often it is asked, and is waited for once."""

    def __init__(self, question: Callable[[], Answer]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._began = 0.0
        self._answer: Future[Answer] | None = None

    def ask(self, limit_s: float) -> Answer | None:
        """None when there is no answer yet. What the question raises is raised."""
        with self._lock:
            if self._answer is None or self._answer.done():
                self._answer, self._began = Future(), time.monotonic()
                threading.Thread(target=self._carry_out, args=(self._answer,), name="in time", daemon=True).start()
            answer, began = self._answer, self._began
        try:
            return answer.result(timeout=max(0.0, began + limit_s - time.monotonic()))
        except TimeoutError:
            return None

    def _carry_out(self, answer: "Future[Answer]") -> None:
        try:
            answer.set_result(self._question())
        except BaseException as error:  # noqa: BLE001 (it is raised again, where it is waited for)
            answer.set_exception(error)
