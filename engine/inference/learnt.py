"""What is asked of a server once, however many wait for it."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Learnt(Generic[T]):
    """Answers by key. A failure is told to all who waited for it, and is not kept. Belongs to one event loop."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Raises what `ask` raises. Who stops waiting does not end it for others."""
        task = self._asked.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._asked[key] = asyncio.create_task(ask())
        return task.result() if task.done() else await asyncio.shield(task)

    def known(self, key: Hashable) -> T | None:
        """What was answered already; None when nothing was, yet."""
        task = self._asked.get(key)
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()

    def forget(self, key: Hashable, answer: T) -> None:
        """It may have changed: the next who wants it asks anew, unless somebody has done so since this answer."""
        if self.known(key) is answer:
            del self._asked[key]

    def close(self) -> None:
        for task in self._asked.values():
            task.cancel()
        self._asked.clear()
