"""The state files' claims about a local deployment, held against the processes that truly run."""

import os
import signal
import time
from collections.abc import Collection

from engine.deployment import Deployment, Lifecycle
from engine.errors import OperationFailed
from engine.runtimes.process_identity import is_alive, send, survivors, wait_for_end
from engine.runtimes.process_state import Record
from engine.runtimes.shim import Identity, identify, stat_fields

_KILL_S = 15.0
"""How long a killed process may take to be gone"""


class Truth:
    def __init__(self) -> None:
        self._bereft: set[tuple[str, Identity | None]] = set()
        """Runs whose shim is gone and of which no process is left: none can appear any more"""

    def judge(self, record: Record) -> Deployment:
        """Raises FileNotFoundError when it was removed meanwhile."""
        if record.run and record.run.finished_at is None and not is_alive(record.run.shim):
            # It may have ended after its file was read.
            record = Record.read(record.folder)
        run = record.run
        if run and run.finished_at is not None:
            return record.deployment(Lifecycle.EXITED, None, run.error or record.damage)
        if run and is_alive(run.shim):
            return record.deployment(Lifecycle.RUNNING, run.server[0] if run.server else None, record.damage)
        if not run and not record.damage:
            return record.deployment(Lifecycle.CREATED, None, "")
        if left := self._survivors(record):
            pid = run.server[0] if run and run.server in left else left[0][0]
            why = (
                record.damage or "Its supervisor was killed and its log is no longer read. Stop it and start it again."
            )
            return record.deployment(Lifecycle.RUNNING, pid, why)
        return record.deployment(Lifecycle.EXITED, None, record.damage or _how_it_was_lost(record))

    def end_survivors(self, record: Record, timeout_s: float) -> None:
        """Ends what a killed shim left: asked, then killed, until nothing carries the launch's mark.

        Raises `OperationFailed` when a process cannot be ended.
        """
        name = record.folder.name
        began = time.monotonic()
        left = self._survivors(record)
        for identity in left:
            ask(name, identity, signal.SIGTERM)
        while left:
            waited = time.monotonic() - began
            if waited >= timeout_s + _KILL_S:
                raise OperationFailed(
                    f"Process {left[0][0]} of {name} does not end.", "A driver may hold it (see dmesg)."
                )
            if waited >= timeout_s:
                for identity in left:
                    ask(name, identity, signal.SIGKILL)
            wait_for_end(left[0], min(0.2, max(0.01, timeout_s - waited)))
            left = self._survivors(record)

    def has_any(self, record: Record, pids: Collection[int]) -> bool:
        """Whether one of these processes belongs to its present run."""
        run = record.run
        if run is None:
            return False
        if run.shim and any(run.shim[0] in _ancestry(pid) for pid in pids):
            return True  # what it has started stays below it, whoever ends in between
        return any(identity[0] in pids for identity in survivors(record.launch_id, run.server))

    def _survivors(self, record: Record) -> list[Identity]:
        run = record.run
        key = (record.launch_id, run.shim if run else None)
        if not record.launch_id or key in self._bereft:
            return []
        found = survivors(record.launch_id, run.server if run else None)
        if run and not found:
            self._bereft.add(key)
        return found


def _ancestry(pid: int) -> list[int]:
    """Itself, its parent, and so on."""
    found: list[int] = []
    while pid > 1 and pid not in found:
        found.append(pid)
        parent = stat_fields(pid)[1:2]
        pid = int(parent[0]) if parent else 0
    return found


def ask(name: str, identity: Identity, number: signal.Signals) -> bool:
    """Sends the signal; false when the process has ended. Raises `OperationFailed` when it is another user's."""
    try:
        return send(identity, number)
    except PermissionError as error:
        raise OperationFailed(f"Process {identity[0]} of {name} is another user's.", "Stop it as that user.") from error


def _how_it_was_lost(record: Record) -> str:
    me = identify(os.getpid())
    if me and record.run and record.run.shim and record.run.shim[2] != me[2]:
        return "The machine was restarted while it ran."
    complaint = record.shim_errors()
    return "Its supervisor was killed, so how it ended is not known." + (f" It said: {complaint}" if complaint else "")
