"""Questions to a server from an operation's thread, given up as soon as the operation is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from engine.operations.waiting import Waiting

CANCEL_EVERY_S = 0.1

Answer = TypeVar("Answer")


def ask(question: Coroutine[Any, Any, Answer], waiting: Waiting) -> Answer:
    """Blocks until it is answered. Raises what it raises, and `Cancelled`; for a thread without an event loop."""
    return asyncio.run(_attentively(question, waiting))


async def _attentively(question: Coroutine[Any, Any, Answer], waiting: Waiting) -> Answer:
    asking = asyncio.ensure_future(question)
    try:
        while not asking.done():
            waiting.check()
            await asyncio.wait([asking], timeout=CANCEL_EVERY_S)
        return asking.result()
    finally:
        asking.cancel()
        await asyncio.wait([asking])  # its connection is closed by then
