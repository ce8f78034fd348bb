"""Profiles in the console in a real terminal: found, edited in an editor that takes the terminal, and copied."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.terminal import PROMPT, Terminal, opened_terminal

PROFILE = """\
name: mine
summary: A profile of my own
stack: triton
runtime: process
image: nvcr.io/nvidia/tritonserver:25.12-py3
repository: ./models
expose: {http: auto}
"""
EDITOR = """\
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own would miss one between the question and the reading
path = pathlib.Path(sys.argv[-1])
answer = input(f"EDITOR {sys.argv[1:-1]} {path.name}: ")
text = path.read_text()
path.write_text(text.replace("wrong: 1\\n", "") if answer == "mend" else text + answer + "\\n")
"""


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """With one profile of the operator's own, and an editor that asks, line by line, for what to add."""
    config = tmp_path / "config"
    (config / "profiles").mkdir(parents=True)
    (config / "profiles" / "mine.yaml").write_text(PROFILE)
    (tmp_path / "nano").write_text(f"#!{sys.executable}\n{EDITOR}")
    (tmp_path / "nano").chmod(0o755)
    monkeypatch.setenv("TRITONTUI_CONFIG_DIR", str(config))
    monkeypatch.setenv("VISUAL", shlex.quote(str(tmp_path / "nano")))
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    with opened_terminal(folder) as terminal:
        yield terminal


def test_a_profile_is_found_spoilt_mended_and_copied(terminal: Terminal, tmp_path: Path) -> None:
    before = terminal.state()
    terminal.run_console()
    terminal.see("demo +–")
    terminal.press("/")
    terminal.type("own")
    terminal.press("Enter")
    terminal.see(r"/ own +1 of \d+")
    terminal.press("7")
    terminal.see(r"2 summary: A profile of my own(.|\n)* e edit .* escape list")  # offered once the pane has settled

    terminal.press("e")
    terminal.see(r"EDITOR \[\] mine\.yaml:")
    in_editor = terminal.state()
    assert in_editor == before, "the editor has the terminal as the shell left it"
    terminal.type("wrong: 1")
    terminal.see("mine.yaml: wrong: 1")  # echoed by the terminal, not by the console
    terminal.press("Enter")
    terminal.see(r"mine\.yaml is not valid(.|\n)*Line 8: Unknown key `wrong`")
    terminal.press("Escape")
    terminal.see(r" / filter ")  # the list has the keys again
    terminal.press("Escape")
    terminal.see(r"workload-\w+(.|\n)*▌▲ mine\.yaml +invalid +line 8")
    terminal.see("▲ 8 wrong: 1")

    terminal.press("e")
    terminal.see(r"EDITOR \['\+8'\] mine\.yaml:")
    terminal.press("C-c")  # an interrupt ends this editor, and not the console
    terminal.see(r"The editor nano ended with exit code")
    terminal.press("e")
    terminal.see(r"EDITOR \['\+8'\] mine\.yaml:")
    terminal.type("mend")
    terminal.press("Enter")
    terminal.see(r"mine\.yaml is valid\.")
    terminal.see("mine +–")
    assert (tmp_path / "config" / "profiles" / "mine.yaml").read_text() == PROFILE

    terminal.press("c")
    terminal.see("copy mine(.|\n)*mine-2")
    terminal.press("Enter")
    terminal.see(r"▌ +mine-2 +–")
    assert "name: mine-2" in (tmp_path / "config" / "profiles" / "mine-2.yaml").read_text()
    terminal.press("q")
    terminal.see(rf"{re.escape(PROMPT)}\s*\Z")
    assert terminal.state() == before


def test_a_shipped_profile_is_copied_and_the_copy_edited(terminal: Terminal, tmp_path: Path) -> None:
    terminal.run_console()
    terminal.see("demo +–")
    terminal.press("/")
    terminal.type("demo")
    terminal.press("Enter", "e")
    terminal.see(r"demo is shipped with tritontui(.|\n)*demo-2")
    terminal.press("Enter")
    terminal.see(r"EDITOR \[\] demo-2\.yaml:")
    terminal.type("# mine")
    terminal.press("Enter")
    terminal.see(r"demo-2\.yaml is valid\.")
    terminal.see(r"▌ +demo-2 +–")
    assert (tmp_path / "config" / "profiles" / "demo-2.yaml").read_text().endswith("# mine\n")
    terminal.press("q")
    terminal.see(rf"{re.escape(PROMPT)}\s*\Z")
