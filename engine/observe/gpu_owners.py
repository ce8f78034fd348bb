"""Whose a process is: by its container, by the launch that it carries the mark of, or by whom it comes from."""

import contextlib
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.deployment import Deployment, Lifecycle, precedence
from engine.gpu_reading import GpuProcess
from engine.runtimes.shim import LAUNCH_ID, Identity, identify
from engine.text import clean_line

PROC = Path("/proc")
NAMED_S = 10.0
"""After so long a process is asked for its name again: servers give themselves names while they start"""
_CONTAINER = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A process, as it was when it was looked at."""

    identity: Identity
    at: float
    name: str
    marks: tuple[str, ...]
    """Ids of the container that it is in and of the launch that it comes from, as far as either can be read"""
    line: tuple[int, ...]
    """Its id, its parent's, and so on"""


class Owners:
    """Safe in any thread. Looks at each process once, and then only whether it is still the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[int, _Seen] = {}

    def tell(
        self, listed: Iterable[tuple[GpuProcess, ...] | None], deployments: Iterable[Deployment]
    ) -> list[tuple[GpuProcess, ...] | None]:
        """The same lists with names and owners. `listed`: all that there are now; others are forgotten."""
        lists = list(listed)
        ids, mains = _known(deployments)
        with self._lock:
            pids = {process.pid for processes in lists for process in processes or ()}
            looked = {pid: self._look(pid) for pid in pids}
            self._seen = {pid: seen for pid, seen in looked.items() if seen}
        return [
            None if processes is None else tuple(_told(one, looked[one.pid], ids, mains) for one in processes)
            for processes in lists
        ]

    def _look(self, pid: int) -> _Seen | None:
        """None when it has ended, or lives where its id means nothing to us."""
        identity, now = identify(pid), time.monotonic()
        if identity is None:
            return None
        seen = self._seen.get(pid)
        if seen is None or seen.identity != identity:
            return _Seen(identity, now, _name(pid), tuple(_marks(pid)), _line(pid))
        return seen if now - seen.at < NAMED_S else replace(seen, at=now, name=_name(pid) or seen.name)


def _known(deployments: Iterable[Deployment]) -> tuple[Mapping[str, str], Mapping[int, str]]:
    """Of what runs: name by the runtime's id, and by the main process."""
    found = sorted((one for one in deployments if one.lifecycle is Lifecycle.RUNNING), key=precedence)
    return {one.id: one.name for one in found if one.id}, {one.pid: one.name for one in found if one.pid}


def _told(process: GpuProcess, seen: _Seen | None, ids: Mapping[str, str], mains: Mapping[int, str]) -> GpuProcess:
    if seen is None:
        return process
    owners: Sequence[str] = [ids[mark] for mark in seen.marks if mark in ids]
    owners = owners or [mains[pid] for pid in seen.line if pid in mains]
    return replace(process, name=seen.name, deployment=owners[0] if owners else "")


def _name(pid: int) -> str:
    import psutil

    try:
        return clean_line(psutil.Process(pid).name())
    except (psutil.Error, OSError):
        return ""


def _line(pid: int) -> tuple[int, ...]:
    import psutil

    try:
        return (pid, *(parent.pid for parent in psutil.Process(pid).parents()))
    except (psutil.Error, OSError):
        return (pid,)


def _marks(pid: int) -> Iterable[str]:
    """The innermost container first: one may run in another. Of another user's process only what all may read."""
    with contextlib.suppress(OSError):
        yield from reversed(
            _CONTAINER.findall((PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace"))
        )
    mark = f"{LAUNCH_ID}=".encode()
    with contextlib.suppress(OSError):
        for variable in (PROC / str(pid) / "environ").read_bytes().split(b"\0"):
            if variable.startswith(mark):
                yield variable.removeprefix(mark).decode("utf-8", "replace")
