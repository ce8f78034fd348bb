"""A program in a terminal of its own, watched from outside: what it writes, how soon, and what it costs."""

import fcntl
import os
import pty
import random
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

READ = 1 << 16


class Terminal:
    def __init__(self, pid: int, handle: int, began: float) -> None:
        self.pid = pid
        self._handle = handle
        self.began = began
        self.bytes = 0
        self.text = b""

    def read_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def read_until(self, marker: bytes, seconds: float = 30.0) -> float:
        """Seconds from the start of the program until it has written `marker`."""
        deadline = time.monotonic() + seconds
        while marker not in self.text:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{marker!r} was not written; the end of what was: {self.text[-300:]!r}")
            self._read(0.5)
        return time.monotonic() - self.began

    def send(self, keys: bytes) -> None:
        os.write(self._handle, keys)

    def press(self, key: bytes, paints: re.Pattern[bytes]) -> float:
        """Seconds until what the key paints is written. It is pressed after a short while of any length."""
        self.read_for(random.uniform(0.02, 0.12))
        self.text = b""
        begun = time.perf_counter()
        self.send(key)
        while not paints.search(self.text):
            self.read_for(0.0005)
            if time.perf_counter() - begun > 30:
                raise TimeoutError(f"{key!r} painted nothing; the end of what was written: {self.text[-300:]!r}")
        return time.perf_counter() - begun

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select([self._handle], [], [], seconds)
        if ready:
            try:
                block = os.read(self._handle, READ)
            except OSError:  # Linux says so when the program has ended
                block = b""
            if not block:
                raise EOFError(f"the program ended; the end of what it wrote: {self.text[-300:]!r}")
            self.bytes += len(block)
            self.text += block


def at(share: float, times: Sequence[float]) -> float:
    """That quantile of times in seconds, in ms."""
    return sorted(times)[int(len(times) * share)] * 1000


@contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], columns: int = 120, rows: int = 40
) -> Iterator[Terminal]:
    """Starts the program; ends it, by its id, in any case."""
    began = time.monotonic()
    pid, handle = pty.fork()
    if pid == 0:
        os.execvpe(command[0], list(command), {**os.environ, "TERM": "xterm-256color", **environment})
    fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    try:
        yield Terminal(pid, handle, began)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(handle)
        os.waitpid(pid, 0)
