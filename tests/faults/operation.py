"""One operation in a process of its own, halted where a step begins."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from engine.operation_json import from_json
from engine.request import Request
from engine.snapshot import OperationStatus
from tests.faults.lab import ROOT, Lab

LIMIT_S = 150.0
"""Longer than anything that an operation waits for by itself"""


class Operation:
    def __init__(self, lab: Lab, request: Request, halt: tuple[str, bool] | None = None, *, state: Path | None = None):
        """`halt`: the kind of the step, and whether it is one of rolling back. `state`: another operator's folder."""
        self._errors = (lab.folder / "act.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.act"],
            cwd=ROOT,
            env=lab.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        settings = lab.settings(state).to_json()
        self._write(json.dumps({"settings": settings, "request": request.to_json(), "halt": halt}))

    def __enter__(self) -> "Operation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(10)
        self._errors.close()

    def reach(self) -> None:
        """Until the step begins. Raises RuntimeError when the operation ends before."""
        said = self._next()
        if "at" not in said:
            raise RuntimeError(f"it ended before that step: {said['message']}")

    def go(self) -> None:
        self._write("")

    def cancel(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def end(self) -> tuple[OperationStatus, int]:
        """What it says of itself, and its exit code."""
        status = from_json(json.dumps(self._next()))
        return status, self.process.wait(30)

    def left_processes(self) -> list[str]:
        """What it has started and left behind."""
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except (psutil.Error, ProcessLookupError):
                continue
        return found

    def _next(self) -> Any:
        line = self._said.get(timeout=LIMIT_S)
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"it ended without an outcome: {self._errors.read()[-2000:]}")
        return json.loads(line)

    def _write(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._said.put(line)
        self._said.put("")


def perform(lab: Lab, request: Request, *, state: Path | None = None) -> tuple[OperationStatus, int]:
    with Operation(lab, request, state=state) as operation:
        return operation.end()
