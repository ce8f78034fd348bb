"""`tritontui doctor` as a script meets it."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import NotFound
from engine.finding import Finding, Severity
from tui.cli import main

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"
WELL = Finding("memory", "Memory", Severity.OK, "22 GiB of 24 GiB are available.")
POOR = Finding(
    "disk", "Too little room on the disk", Severity.ERROR, "1 GiB is free. " * 12, "Free space.", "docker " * 30
)


class Patient:
    """The engine, as far as the command needs it."""

    def __init__(self, *findings: Finding) -> None:
        self._findings = findings
        self.asked: list[str | None] = []

    def doctor(self, found: object = None, profile: str | None = None) -> tuple[Finding, ...]:
        self.asked.append(profile)
        if profile == "nobody":
            raise NotFound("There is no profile nobody.")
        return self._findings

    def close(self) -> None:
        pass


def run(engine: Any, *argv: str) -> int:
    return main(["doctor", *argv], lambda _: engine)


def test_errors_come_first_and_make_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Patient(POOR, WELL)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["ERRORS", "  ▲ Too little room on the disk  [disk]"]
    assert lines[-1] == "1 error · 1 in order"
    assert f"    $ {POOR.command}" in lines, "a command is never broken"
    assert "    → Free space." in lines
    assert all(len(line) <= 80 for line in lines if "$" not in line)
    assert run(Patient(WELL)) == 0


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Patient(POOR, WELL)
    assert run(engine, "mine", "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert engine.asked == ["mine"]
    assert printed["counts"] == {"error": 1, "warning": 0, "unknown": 0, "info": 0, "ok": 1}
    assert [one["severity"] for one in printed["findings"]] == ["error", "ok"]
    section = DOCS.read_text(encoding="utf-8").split("\n## doctor")[1].split("\n## ")[0]
    keys = {*printed, *printed["findings"][0], *printed["counts"]}
    assert not {key for key in keys if f"`{key}`" not in section}, "docs/commands.md documents every key"


def test_a_profile_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Patient(), "nobody") == 2
    assert "There is no profile nobody." in capsys.readouterr().err
