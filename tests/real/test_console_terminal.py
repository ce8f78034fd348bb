"""The console in a real terminal (tmux), driven by keys, serving with the real Triton server of the demo."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import termios
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.real.commands import Commands, needs_demo

PROMPT = "sh-ready>"

pytestmark = [pytest.mark.triton, needs_demo]


class Terminal:
    """A shell in a tmux server of its own."""

    def __init__(self, folder: Path, columns: int = 120, rows: int = 40) -> None:
        self.commands = Commands(folder)
        self._socket = f"tritontui-test-{uuid.uuid4().hex[:12]}"
        environment = {**self.commands.env, "LC_ALL": "C.UTF-8"}
        environment.pop("TMUX", None)
        begin = ["new-session", "-d", "-x", str(columns), "-y", str(rows), "sh"]
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


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if not shutil.which("tmux"):
        pytest.skip("tmux is not installed")
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    terminal = Terminal(folder)
    try:
        terminal.type(f"PS1='{PROMPT}'")
        terminal.press("Enter")
        terminal.see(rf"(?m)^{PROMPT}")
        yield terminal
    finally:
        terminal.close()
        terminal.commands.clear()


def start_demo(terminal: Terminal) -> None:
    terminal.run_console()
    terminal.see("demo +–")
    terminal.press("g", "Enter")
    terminal.see(r"start demo\?(.|\n)*tritonserver")
    terminal.press("Enter")
    terminal.see("● demo +ready", limit_s=90)


def test_a_session_from_start_to_quit(terminal: Terminal) -> None:
    before = terminal.state()
    start_demo(terminal)
    server = psutil.Process(terminal.commands.model("demo")["deployment"]["pid"])

    terminal.press("3")
    terminal.see(r"Type a prompt(.|\n)*\^r History")  # in the footer once the prompt has the focus
    terminal.type("Does the terminal work?")
    terminal.see("Does the terminal work")
    terminal.press("Enter")
    answered = terminal.see(r"● done, \w+ +first ")
    assert re.search(r"first \d+ ms +[\d.]+ tok/s +total [\d.]+ m?s +\d+ in, \d+ out \(server\)", answered)

    terminal.press("Escape")
    terminal.see(r"(?m)^⏎ start")  # the list's keys are in the footer again
    terminal.press("x")
    terminal.see(r"stop demo\?")
    terminal.press("y")
    terminal.see("■ demo +stopped", limit_s=60)
    assert not server.is_running()

    terminal.press("q")
    terminal.see(rf"{re.escape(PROMPT)}\s*\Z")
    assert terminal.state() == before
    assert not psutil.pid_exists(server.pid)


def test_a_console_that_is_killed_takes_nothing_with_it(terminal: Terminal) -> None:
    start_demo(terminal)
    server = psutil.Process(terminal.commands.model("demo")["deployment"]["pid"])
    console = terminal.console()
    console.send_signal(signal.SIGKILL)
    console.wait(timeout=30)
    assert server.is_running()

    terminal.type("reset")  # nobody could tidy up the terminal: it takes no Enter for the end of a line
    terminal.press("C-j")
    terminal.see(rf"\A\s*{re.escape(PROMPT)}\s*\Z")
    terminal.run_console()
    terminal.see("● demo +ready")
    assert terminal.commands.model("demo")["deployment"]["pid"] == server.pid
    terminal.press("q")
    terminal.see(rf"{re.escape(PROMPT)}\s*\Z")
    assert server.is_running(), "quitting stops nothing"
