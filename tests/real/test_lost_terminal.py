"""What happens to the console when its terminal goes: it ends, at once, and leaves nobody waiting."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


class Pty:
    """The console in a pseudo-terminal that the test holds the other end of."""

    def __init__(self, folder: Path) -> None:
        self.handle, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            cwd=Path(__file__).parents[2],
            env={
                **os.environ,
                "TERM": "xterm-256color",
                **{f"TRITONTUI_{kind}_DIR": str(folder / kind) for kind in ("STATE", "CACHE", "CONFIG")},
            },
        )
        os.close(theirs)
        self.seen = b""

    def see(self, marker: bytes, limit_s: float = 30.0) -> None:
        deadline = time.monotonic() + limit_s
        while marker not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, self.seen[-500:]
            if select.select([self.handle], [], [], left)[0]:
                self.seen += os.read(self.handle, 1 << 16)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Pty]:
    held = Pty(tmp_path)
    try:
        held.see(b"demo")
        yield held
    finally:
        held.close()


def test_a_closed_terminal_ends_the_console(terminal: Pty) -> None:
    os.close(terminal.handle)
    assert terminal.process.wait(15) == 128 + signal.SIGHUP


def test_a_hangup_followed_by_continue_ends_the_console(terminal: Pty) -> None:
    """The kernel sends both when a session leader's terminal is lost."""
    terminal.process.send_signal(signal.SIGHUP)
    terminal.process.send_signal(signal.SIGCONT)
    assert terminal.process.wait(15) == 128 + signal.SIGHUP
    os.close(terminal.handle)


def test_termination_gives_the_terminal_back(terminal: Pty) -> None:
    terminal.process.send_signal(signal.SIGTERM)
    terminal.see(b"\x1b[?1049l")
    terminal.process.wait(15)
    os.close(terminal.handle)
