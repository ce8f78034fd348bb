"""Prompts on a thread of their own, so that a busy screen does not distort what is timed."""

import asyncio
import threading
from collections.abc import Callable

from engine.api import Cancel
from engine.deployment import Service
from engine.inference.client import PromptClient
from engine.inference.measured import Measured
from engine.inference.prompt import PromptEvent, PromptRequest

CLOSE_S = 1.0


class PromptRunner:
    """Any number of prompts at once. The thread begins with the first one. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def ask(self, service: Service, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> Cancel:
        """Sends one prompt. `on_event` is called on the runner's thread; its last call has the `PromptResult`.

        After a cancel that is the result CANCELLED with the text so far, when the connection has been closed.
        """
        prompt = _Prompt(service, request, on_event)
        with self._lock:
            if self._closed:
                on_event(Measured(request).cancelled())
                return prompt.cancel
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name="prompts", daemon=True)
                self._thread.start()
            prompt.begin(self._loop, self._tasks)
        return prompt.cancel

    def close(self) -> None:
        """Cancels what is under way. Blocks for at most a second."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None or not thread.is_alive():
            return
        loop.call_soon_threadsafe(lambda: loop.create_task(self._wind_down(loop)))
        if thread is not threading.current_thread():
            thread.join(CLOSE_S)

    async def _wind_down(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        loop.stop()

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()


class _Prompt:
    """One prompt's life on the loop. Its methods other than `begin` and `cancel` run there."""

    def __init__(self, service: Service, request: PromptRequest, on_event: Callable[[PromptEvent], None]) -> None:
        self._service = service
        self._measured = Measured(request, on_event)
        self._on_event = on_event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def begin(self, loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[None]]) -> None:
        self._loop = loop
        loop.call_soon_threadsafe(self._start, loop, tasks)

    def cancel(self) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(self._stop)
        except RuntimeError:  # closed just now, and with it the prompt
            return

    def _start(self, loop: asyncio.AbstractEventLoop, tasks: set[asyncio.Task[None]]) -> None:
        self._task = loop.create_task(self._run())
        tasks.add(self._task)
        self._task.add_done_callback(tasks.discard)
        # not in _run: a task that is cancelled before its first step runs nothing of it
        self._task.add_done_callback(self._report_cancelled)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        client = PromptClient(self._service)
        try:
            result = await client.carry_out(self._measured)
        finally:
            await client.close()
        self._ended = True
        self._on_event(result)

    def _report_cancelled(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and not self._ended:
            self._on_event(self._measured.cancelled())
