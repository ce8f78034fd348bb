"""The console in a real terminal (tmux), driven by keys, serving with the real Triton server of the demo."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.real.commands import needs_demo
from tests.real.terminal import PROMPT, Terminal, opened_terminal
from tui.widgets.playground_pane import LATE_S

pytestmark = [pytest.mark.triton, needs_demo]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with opened_terminal(folder) as terminal:
        yield terminal


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
    terminal.see(r"Type a prompt(.|\n)*ctrl\+r history")  # in the footer once the prompt has the focus
    terminal.type("Does the terminal work?")
    terminal.see("Does the terminal work")
    terminal.press("Enter")
    answered = terminal.see(r"● done, \w+ +first ")
    assert re.search(r"first [\d.]+ ms +[\d.]+ tok/s +\d+ in, \d+ out \(server\) +total [\d.]+ m?s", answered)

    time.sleep(LATE_S)  # until then it is taken for a late cancel
    terminal.press("Escape")
    terminal.see(r"(?m)^ x stop")  # the list's keys are in the footer again
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
