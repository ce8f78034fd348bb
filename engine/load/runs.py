"""Begins load tests, each in a process of its own, and hands on what it tells. One at a time."""

import contextlib
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from engine.api import Cancel
from engine.deployment import Deployment
from engine.errors import OperationFailed, Refused
from engine.load import codec
from engine.load.order import Order, Target
from engine.load.plan_check import check
from engine.load.store import LoadStore
from engine.load_plan import LoadPlan
from engine.load_result import STOPPED_BY_HAND, LoadEvent, LoadOutcome, LoadProgress, LoadResult
from engine.prompts.kept import run_of
from engine.text import clean_line

SILENCE_S = 90.0
"""One that tells nothing for so long hangs: it tells something twice a second, but for when it waits for the first
answers (see `LoadPlan.idle_timeout_s`, which is added), and when it keeps its result"""
STOP_S = 20.0
"""One that has been asked to end is given so long to tell its result"""
LOOK_S = 0.2
OBSTACLES_S = 1.0
"""Between two looks for what the test would hold up"""
LONGEST_LINE = 16 << 20
Listener = Callable[[LoadEvent], None]


class LoadRuns:
    """Safe to use from any thread."""

    def __init__(self, path: Path) -> None:
        """`path`: where results are kept."""
        self.store = LoadStore(path)
        self._path = path
        self._lock = threading.Lock()
        self._current: _Run | None = None

    def begin(
        self, deployment: Deployment, plan: LoadPlan, listener: Listener, obstacle: Callable[[], str] = lambda: ""
    ) -> Cancel:
        """`listener` is called from a thread of its own, with the result last.

        `obstacle`: asked about once a second, blocking shortly; what it says ends the test.

        Raises `InvalidLoad`, `Refused` while another is under way, `OperationFailed` when no process can be started.
        """
        check(plan)
        target = Target(
            deployment=deployment.name,
            run=run_of(deployment),
            what=deployment.what,
            service=deployment.service,
        )
        try:
            order = Order(target, plan, self._path).to_json()
        except ValueError as error:
            raise OperationFailed("The load test's settings have characters that are no text.") from error
        with self._lock:
            if self._current and not self._current.ended.is_set():
                other = self._current.target.deployment
                raise Refused(f"A load test of {other} is under way.", "Stop it, or wait for its end.")
            run = self._current = _Run(target, plan, self.store, listener, order, obstacle)
        return run.cancel

    def close(self) -> None:
        """Ends what is under way; its process keeps what it has measured, whether or not this one is still there."""
        with self._lock:
            run = self._current
        if run:
            run.cancel()


class _Run:
    """One process, and the thread that reads what it tells."""

    def __init__(
        self,
        target: Target,
        plan: LoadPlan,
        store: LoadStore,
        listener: Listener,
        order: str,
        obstacle: Callable[[], str],
    ) -> None:
        self.target = target
        self.ended = threading.Event()
        self._plan = plan
        self._store = store
        self._listener = listener
        self._obstacle = obstacle
        self._look_at = 0.0
        self._began_at = time.time()
        self._stop_by: float | None = None
        self._why = ""
        """It is to end, when nobody stopped it by hand"""
        self._latest: LoadProgress | None = None
        # In memory: a full disk is no reason not to measure.
        self._errors = os.fdopen(os.memfd_create("errors"), "w+b")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.load.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            self._errors.close()
            raise OperationFailed(f"No process could be started for the load test: {error}.") from error
        threading.Thread(target=self._read, args=(order,), name="load test", daemon=True).start()

    def cancel(self) -> None:
        if self._stop_by is None:
            self._stop_by = time.monotonic() + STOP_S
        with contextlib.suppress(OSError):  # Popen does not signal one that it has seen the end of
            self._process.terminate()

    def _give_way(self, now: float) -> None:
        """To an operation that the test would hold up: its process is told why, and ends."""
        if self._stop_by is not None or now < self._look_at:
            return
        self._look_at = now + OBSTACLES_S
        why = self._obstacle()
        if why:
            assert self._process.stdin is not None  # noqa: S101
            self._stop_by, self._why = now + STOP_S, why
            with contextlib.suppress(OSError):  # it has ended already
                self._process.stdin.write(f"{why}\n".encode())

    def _read(self, order: str) -> None:
        """Until there is a result, which there is in any case."""
        process = self._process
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        with self._errors, process.stdout:
            with contextlib.suppress(OSError):  # one that has ended already has said why
                process.stdin.write(f"{order}\n".encode())
            try:
                result = self._follow(process.stdout)
            except _AstrayError as astray:
                process.kill()
                result = self._left(str(astray))
            # When it has told its result it ends by itself; it is ours to wait for.
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            result = result or self._left(self._how_it_ended(process.returncode))
        self.ended.set()
        self._listener(result)

    def _follow(self, out: IO[bytes]) -> LoadResult | None:
        """None: it ended without a result. Raises `_AstrayError`."""
        for line in self._lines(out):
            try:
                event = codec.load_event(line.decode())
            except ValueError:
                raise _AstrayError("The load test's process told something that is not understood.") from None
            if isinstance(event, codec.Unkept):
                self._store.hold(event.result, event.records)
                return event.result
            if isinstance(event, LoadResult):
                return event
            self._latest = event
            self._listener(event)
        return None

    def _lines(self, out: IO[bytes]) -> Iterator[bytes]:
        rest = bytearray()
        silence_s = SILENCE_S + self._plan.idle_timeout_s
        heard = time.monotonic()
        while True:
            now = time.monotonic()
            if now - heard > silence_s:
                raise _AstrayError(f"The load test's process has told nothing for {silence_s:.0f} s.")
            if self._stop_by is not None and now > self._stop_by:
                raise _AstrayError(f"The load test's process did not end within {STOP_S:g} s of being asked to.")
            self._give_way(now)
            if not select.select([out], [], [], LOOK_S)[0]:
                continue
            block = os.read(out.fileno(), 1 << 16)
            if not block:
                return  # what is left was cut off: it was killed while it wrote
            heard = now
            *lines, last = (rest + block).split(b"\n")
            rest = bytearray(last)
            if len(rest) > LONGEST_LINE:
                raise _AstrayError("The load test's process told something that is not understood.")
            yield from map(bytes, lines)

    def _how_it_ended(self, code: int) -> str:
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        said = f" It said: {clean_line(lines[-1])}" if lines else ""
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"The load test's process {how} and left no result.{said}"

    def _left(self, why: str) -> LoadResult:
        """Of a process that gave no result: the levels that it had finished are known. It is kept, too."""
        if self._stop_by is not None:
            outcome, message = LoadOutcome.STOPPED, f"{self._why} {STOPPED_BY_HAND}".lstrip()
        else:
            outcome, message = LoadOutcome.FAILED, why
        levels = self._latest.finished if self._latest else ()
        result = replace(self.target.result(self._plan, self._began_at, outcome, message), levels=levels)
        return self._store.keep(result, tuple(() for _ in levels))


class _AstrayError(Exception):
    """The process does something else than it is to; `str()` is the sentence."""
