"""The process of one load test: `python -m engine.load.worker`, with what it is to do as JSON on standard input.

A process of its own, so that drawing a screen takes no time from sending and stamping. It tells how it stands on
standard output, a JSON object a line, the result last, and keeps that in the store; if that fails, it tells the
requests with it. It ends, with what was measured, on SIGTERM and SIGINT, when a line on standard input says why it is
to end, and when that is closed: whoever began it is gone.
"""

import asyncio
import contextlib
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from engine.inference.client import PromptClient
from engine.inference.discover import discover
from engine.load import codec
from engine.load.codec import Records, Unkept
from engine.load.generator import LoadTest
from engine.load.order import Order
from engine.load.store import LoadStore, cut
from engine.load_result import LoadProgress, LoadResult
from engine.teller import Teller
from engine.text import clean_line

LAST_WORDS_S = 5.0
"""How long a reader may take to read the result"""
MOST_FILES = 16_384
"""Open at once, of which each connection is one; many systems begin with 1024"""


class Stop:
    """Asked for by a signal or a closed standard input, at any moment."""

    def __init__(self) -> None:
        self._asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[str], None] | None = None

    def ask(self, why: str = "") -> None:
        """From a handler of signals, or from any thread."""
        self._asked = True
        if self._loop and self._stop:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop, why)

    def reaches(self, loop: asyncio.AbstractEventLoop, stop: Callable[[str], None]) -> None:
        self._loop, self._stop = loop, stop
        if self._asked:
            stop("")


def main() -> NoReturn:
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.ask())
    for ignored in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    with open(0, "rb", buffering=0, closefd=False) as given:  # reads no further: a reason to end may follow
        order = Order.from_json(given.readline().decode())
    # What a library prints must not stand between the events.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # then fewer connections are open at once, and it shows
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(MOST_FILES, most) if most >= 0 else MOST_FILES, most))
    teller: Teller[LoadProgress | LoadResult | Unkept] = Teller(out, codec.dump, LAST_WORDS_S)
    try:
        result, records = asyncio.run(_run(order, teller.tell, stop))
        store = LoadStore(order.store)
        kept = store.keep(result, records)
        teller.tell(kept if kept.id or kept.came_to_nothing else Unkept(kept, cut(records)))
    finally:
        teller.close()
    sys.stderr.flush()
    # A thread that waits on standard input must not keep the process.
    os._exit(0)


async def _run(order: Order, tell: Callable[[LoadProgress], None], stop: Stop) -> tuple[LoadResult, Records]:
    client = PromptClient(order.target.service)
    offer = partial(discover, order.target.service, order.plan.transport)
    test = LoadTest(order.target, order.plan, client, tell, offer)
    stop.reaches(asyncio.get_running_loop(), test.stop)
    threading.Thread(target=_watch_input, args=(stop,), name="input", daemon=True).start()
    try:
        return await test.run()
    finally:
        await client.close()


def _watch_input(stop: Stop) -> None:
    """Until it is closed, or says why the test is to end."""
    said = b""
    with contextlib.suppress(OSError):
        while not said.endswith(b"\n") and (block := os.read(0, 4096)):
            said += block
    stop.ask(clean_line(said.decode(errors="replace")).strip())


if __name__ == "__main__":
    main()
