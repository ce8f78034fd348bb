"""What `status`, `ls` and `history` show of operations, of who changes the machine, and of what drifted."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.audit import Audit
from engine.facade import Engine
from engine.settings import Settings
from engine.snapshot import AuditEntry, Estimate, Outcome
from tests.unit.cli_bench import DEMO, SNAPSHOT, FakeEngine, engine
from tests.unit.test_cli_operations import DONE, DRAINING, INTERRUPTED, LEASE, section
from tui.cli import main

__all__ = ["engine"]  # the fixture

Capture = pytest.CaptureFixture[str]


# -- what is shown of them --------------------------------------------------------------------------------------------


def test_status_shows_who_changes_the_machine_and_what_is_left_to_settle(engine: FakeEngine, capsys: Capture) -> None:
    gone = replace(LEASE, alive=False)
    engine.snapshot = replace(SNAPSHOT, lease=gone, operations=(INTERRUPTED, DRAINING), read_only="TRITONTUI_READ_ONLY")
    assert main(["status"], engine) == 0
    out = capsys.readouterr().out
    assert "swap a → b, by eve@box, for 1m40s; its process is gone, and the next change takes over\n" in out
    assert "read-only   TRITONTUI_READ_ONLY\n" in out
    assert "swap old → new: interrupted; `tritontui recover 5f2c81d0` shows" in out
    assert "swap old → new: old: drain, for 16m30s, by me@box\n" in out
    assert main(["status", "--json"], engine) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["lease"]["operation"] == "99aa"
    assert found["read_only"] == "TRITONTUI_READ_ONLY"
    assert not {key for key in found["lease"] if f"`{key}`" not in section("status")}


def test_tries_that_were_refused_in_a_row_are_one_line_with_the_last_reason(
    engine: FakeEngine, capsys: Capture
) -> None:
    refused = replace(DRAINING, kind="start", outgoing=(), outcome=Outcome.FAILED, exit_code=3, message="It is busy.")
    tries = [replace(refused, id=str(at), ended_at=at, message=f"GPU {at:.0f} is taken.") for at in (990.0, 980.0)]
    swapped = replace(refused, id="s", kind="swap", outgoing=("old",), ended_at=970.0)
    other = replace(refused, id="o", target="other", ended_at=960.0)
    again = replace(refused, id="b", ended_at=950.0)
    engine.snapshot = replace(SNAPSHOT, operations=(*tries, swapped, DONE, other, again))
    assert main(["status"], engine) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "start new, swap old → new: refused 3 times, last 10s ago: GPU 990 is taken.",
        "swap old → new: done 16m14s ago: new serves; old is stopped.",
        "start other: refused 40s ago: It is busy.",
        "start new: refused 50s ago: It is busy.",
    ]
    assert main(["status", "--json"], engine) == 0
    assert len(json.loads(capsys.readouterr().out)["operations"]) == 6


def test_foreign_and_drifted_models_are_marked(engine: FakeEngine, capsys: Capture) -> None:
    foreign = replace(DEMO, name="docker/by_hand", foreign=True, summary="Triton, started by hand")
    drifted = replace(
        DEMO, drift=("image: it runs sha256:aa, and the tag now means sha256:bb",), estimate=Estimate(41, 41, 41, 1)
    )
    engine.snapshot = replace(SNAPSHOT, models=(drifted, foreign), problems=())
    assert main(["ls"], engine) == 0
    out = capsys.readouterr().out
    assert "ready (drifted)" in out
    assert "ready (by hand)" in out
    assert main(["status"], engine) == 0
    ours, theirs = capsys.readouterr().out.split("\nstarted by hand, and only watched")
    assert "demo" in ours
    assert "docker/by_hand" not in ours
    assert "docker/by_hand" in theirs
    assert main(["status", "demo"], engine) == 0
    out = capsys.readouterr().out
    assert "drift       image: it runs sha256:aa, and the tag now means sha256:bb\n" in out
    assert "next start  took 41s the one time that it is known of\n" in out
    assert main(["status", "demmo"], engine) == 2
    assert capsys.readouterr().err == "tritontui: There is no model demmo. Did you mean demo?\n"


# -- history ----------------------------------------------------------------------------------------------------------


def entry(at: float, operation: str, event: str, what: str, **more: Any) -> AuditEntry:
    return AuditEntry(at, "me", "box", more.pop("address", ""), "command", operation, event, what, **more)


AUDIT = (
    entry(400.0, "c", "began", "start demo"),
    entry(300.0, "b", "refused", "swap a, demo → b", message="It is busy."),
    entry(200.0, "a", "done", "stop demo", seconds=61.0, message="demo is stopped.", address="10.0.0.9"),
    entry(100.0, "a", "began", "stop demo"),
)


def test_history_is_one_line_an_operation_newest_first(engine: FakeEngine, capsys: Capture) -> None:
    engine.audit = AUDIT
    assert main(["history"], engine) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["TIME", "WHO", "WHAT", "OUTCOME", "TOOK"]
    assert [re.split(r"\s{2,}", line)[1:] for line in lines] == [
        ["me@box", "start demo", "began"],
        ["me@box", "swap a, demo → b", "refused", "It is busy."],
        ["me@box from 10.0.0.9", "stop demo", "done", "1m01s", "demo is stopped."],
    ]


@pytest.mark.parametrize(
    ("argv", "operations"),
    [
        ([], ["c", "b", "a", "a"]),
        (["demo"], ["c", "b", "a", "a"]),
        (["b"], ["b"]),
        (["start"], []),
        (["--since", "1970-01-01T00:03:20Z"], ["c", "b", "a"]),
        (["demo", "--limit", "2"], ["c", "b"]),
        (["--limit", "1"], ["c"]),
    ],
)
def test_history_chooses(argv: list[str], operations: list[str], tmp_path: Path, capsys: Capture) -> None:
    """The real engine, over an audit of its own."""
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    for written in reversed(AUDIT):
        Audit(settings.audit_path).append(written)
    assert main(["history", *argv, "--json"], lambda _: Engine(settings)) == 0
    found = json.loads(capsys.readouterr().out)["entries"]
    assert [one["operation"] for one in found] == operations
    assert not {key for one in found for key in one if f"`{key}`" not in section("history")}
    assert main(["history", *argv], lambda _: Engine(settings)) == 0
    out, err = capsys.readouterr()
    rows = out.splitlines()[1:]
    assert len(rows) == len(dict.fromkeys(operations))
    assert err == ("" if rows else "Nothing that fits is in the history.\n")
