"""Work beside an event loop: blocking calls that cannot hold up the end of the program, and tasks that go on."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from engine.text import clean_line

P = ParamSpec("P")
T = TypeVar("T")
Source = Callable[[], Coroutine[Any, Any, None]]

RETRY_S = 2.0
HEALED_S = 5.0
"""A part that failed unforeseen, and then has run on for so long, is well again"""


async def aside(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`, but in a daemon thread of its own.

    The threads of an executor are waited for at exit: a driver or a daemon that hangs would keep the program alive.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():  # nobody waits any longer
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def carry_out() -> None:
        result, error = None, None
        try:
            result = call(*args, **kwargs)
        except BaseException as raised:  # noqa: BLE001 (it is raised again, where it is waited for)
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=carry_out, name="aside", daemon=True).start()
    return await future


async def tend(source: Source, troubles: dict[str, str]) -> None:
    """Runs what is not to end. Where nobody foresaw its failure, it is told in `troubles`, and it is begun again."""
    name = source.func.__name__ if isinstance(source, partial) else source.__name__
    while True:
        attempt = asyncio.ensure_future(source())
        try:
            done, _ = await asyncio.wait([attempt], timeout=HEALED_S)
            if not done:
                troubles.pop(name, None)
                await asyncio.wait([attempt])
        finally:
            attempt.cancel()
        if error := attempt.exception():
            what = clean_line(f"{name.strip('_')}: {type(error).__name__}: {error}")
            troubles[name] = f"A part of the console failed and is tried again ({what})."
        await asyncio.sleep(RETRY_S)
