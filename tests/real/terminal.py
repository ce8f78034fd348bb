"""A shell in a real terminal (tmux) that a test types into and reads."""

import os
import re
import shlex
import shutil
import subprocess
import termios
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.real.commands import Commands

PROMPT = "sh-ready>"


class Terminal:
    """A shell in a tmux server of its own."""

    def __init__(self, folder: Path, *, docker: bool = False, columns: int = 120, rows: int = 40) -> None:
        self.commands = Commands(folder, docker=docker)
        self._socket = f"tritontui-test-{uuid.uuid4().hex[:12]}"
        environment = {**self.commands.env, "LC_ALL": "C.UTF-8", "PS1": PROMPT}
        environment.pop("TMUX", None)
        begin = [
            "new-session",
            "-d",
            "-x",
            str(columns),
            "-y",
            str(rows),
            "bash",
            "--norc",
            "--noprofile",
            "--noediting",
        ]
        subprocess.run(["tmux", "-L", self._socket, "-f", os.devnull, *begin], check=True, cwd=folder, env=environment)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self._socket, *words], check=True, capture_output=True, text=True)
        return done.stdout

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    def run_console(self) -> None:
        self.type(shlex.join(self.commands.command()))
        self.press("Enter")

    def see(self, pattern: str, limit_s: float = 30.0) -> str:
        """Waits until the screen shows it, and returns the screen."""
        deadline = time.monotonic() + limit_s
        while not re.search(pattern, screen := self.screen):
            assert time.monotonic() < deadline, f"{pattern!r} was not shown within {limit_s:g} s:\n{screen}"
            time.sleep(0.05)
        return screen

    def console(self) -> psutil.Process:
        shell = psutil.Process(int(self._tmux("display", "-p", "#{pane_pid}")))
        return next(child for child in shell.children() if "tui" in child.cmdline())

    def state(self) -> tuple[object, ...]:
        """Whether there is the main screen, a cursor and a mouse, and the tty's own settings (echo, line by line …)."""
        flags = self._tmux("display", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}")
        tty = os.open(self._tmux("display", "-p", "#{pane_tty}").strip(), os.O_RDONLY | os.O_NOCTTY)
        try:
            return flags.split(), termios.tcgetattr(tty)
        finally:
            os.close(tty)

    def close(self) -> None:
        socket = self._tmux("display", "-p", "#{socket_path}").strip()
        self._tmux("kill-server")
        Path(socket).unlink(missing_ok=True)


@contextmanager
def opened_terminal(folder: Path, *, docker: bool = False) -> Iterator[Terminal]:
    """`docker`: the console in it sees the machine's Docker Engine."""
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    terminal = Terminal(folder, docker=docker)
    try:
        terminal.see(PROMPT)
        yield terminal
    finally:
        terminal.close()
        terminal.commands.clear()
