"""Progress on a terminal, where the last line is rewritten, and what remains on it afterwards."""

import io
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from engine.snapshot import Estimate, OperationStatus, Outcome, Step, StepKind
from tui import cli_progress
from tui.cli_progress import Progress

COLUMNS = 60
WAIT = Step(StepKind.WAIT, "wait until ready", Outcome.RUNNING, "loading weights", subject="new")
LOAD = Step(StepKind.LOAD, "load", Outcome.RUNNING, "loading weights", subject="new")


def status(step: Step, *, began: float, **more: object) -> OperationStatus:
    steps = (replace(step, began_at=began), Step(StepKind.PROMPT, "answer a prompt", subject="new"))
    found = OperationStatus("5f2c81d0aa", "start", "new", steps, began, Outcome.RUNNING, "me@box")
    return replace(found, **more)  # type: ignore[arg-type]


class Terminal(io.StringIO):
    """Knows what its lines show, and whether anything was ever wider than it is. It has a clock, which stands still."""

    now = 1000.0

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        shown = []
        for line in self.getvalue().split("\n"):
            cells: list[str] = []
            for part in line.split("\r"):
                assert len(part) < COLUMNS
                cells[: len(part)] = part
            shown.append("".join(cells).rstrip())
        return shown


def on_terminal(monkeypatch: pytest.MonkeyPatch, tick_s: float = 3600.0) -> Terminal:
    """To be called within the test: pytest puts its own in place when one begins."""
    fake = Terminal()
    monkeypatch.setattr("tui.format.now", lambda: fake.now)
    monkeypatch.setattr("sys.stderr", fake)
    monkeypatch.setattr(cli_progress, "_columns", lambda: COLUMNS)
    monkeypatch.setattr(cli_progress, "TICK_S", tick_s)
    return fake


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_step_under_way_is_the_last_line_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with Progress() as progress:
        progress.show(status(WAIT, began=935.0))
        assert terminal.lines == ["start new (5f2c81d0)", "1/2 wait until ready  1m05s  loading weights"]
        done = replace(WAIT, outcome=Outcome.DONE, ended_at=1000.0, detail="ready")
        progress.show(status(done, began=935.0))
        assert terminal.lines == ["start new (5f2c81d0)", "1/2 wait until ready: 1m05s, ready", ""]


def test_a_check_is_not_counted_and_what_comes_after_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    check = Step(StepKind.CHECK, "check", Outcome.RUNNING, subject="new")
    with Progress() as progress:
        progress.show(status(check, began=998.0))
        assert terminal.lines == ["start new (5f2c81d0)", "check …  2s"]
        checked = replace(check, outcome=Outcome.DONE, began_at=998.0, ended_at=999.0)
        waiting = replace(WAIT, began_at=999.0)
        progress.show(replace(status(check, began=998.0), steps=(checked, waiting)))
        assert terminal.lines[1:] == ["check: 1s", "2/2 wait until ready  1s  loading weights"]


def test_details_are_drawn_at_most_at_each_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with Progress() as progress:
        progress.show(status(WAIT, began=995.0))
        before = terminal.getvalue()
        for percent in range(100):
            progress.show(status(replace(WAIT, detail=f"loading weights {percent} %"), began=995.0))
        assert terminal.getvalue() == before


def test_a_tick_draws_the_time_and_the_latest_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, tick_s=0.01)
    with Progress() as progress:
        progress.show(status(WAIT, began=995.0))
        progress.show(status(replace(WAIT, detail="loading weights 61 %"), began=995.0))
        until(lambda: terminal.lines[-1].endswith("loading weights 61 %"))
        assert "  5s  " in terminal.lines[-1]
        terminal.now += 1
        until(lambda: "  6s  " in terminal.lines[-1])
    assert terminal.lines[-1] == ""


def test_what_is_too_long_for_the_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with Progress() as progress:
        progress.show(status(replace(WAIT, detail="x" * 200), began=1000.0))
        assert terminal.lines[-1].endswith("x…")


def test_the_number_of_steps_stays_when_a_cancel_leaves_those_ahead_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with Progress() as progress:
        begun = status(WAIT, began=935.0)
        progress.show(begun)
        done = replace(begun.steps[0], outcome=Outcome.DONE, ended_at=1000.0, detail="")
        back = replace(done, title="stop again", undo=True)
        progress.show(replace(begun, steps=(done, back)))
        assert "1/2 wait until ready: 1m05s" in terminal.lines


def test_a_late_one_says_so_once_without_being_told_anything_new(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, tick_s=0.01)
    estimate = Estimate(41.0, 30.0, 55.0, 4, "another host")
    with Progress() as progress:
        progress.show(status(LOAD, began=945.0, estimate=estimate))
        assert "start: usually 41s, 30s to 55s of 4 starts (another host)" in terminal.lines
        assert "  55s  at most ~1s left  " in terminal.lines[-1]
        terminal.now += 30
        until(lambda: any(line.startswith("late: ") for line in terminal.lines))
        shown = len(terminal.getvalue())
        until(lambda: len(terminal.getvalue()) > shown + 200)
    assert sum(line.startswith("late: ") for line in terminal.lines) == 1


def test_a_terminal_that_is_gone_ends_the_ticks_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch, tick_s=0.01)
    progress = Progress()

    def gone(_: str) -> int:
        raise OSError("gone")

    def follow() -> None:
        with progress:
            progress.show(status(WAIT, began=1000.0))
            monkeypatch.setattr(terminal, "write", gone)
            until(lambda: not progress._ticker.is_alive())

    with pytest.raises(OSError, match="gone"):
        follow()


def test_where_nothing_is_rewritten_each_phase_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        for detail in ("", "boot", "weights 1 of 9 shards", "weights 8 of 9 shards", "KV cache", "weights 9 of 9"):
            progress.show(status(replace(WAIT, detail=detail), began=935.0))
    told = capsys.readouterr().err.splitlines()
    assert told[1:] == [
        "1/2 wait until ready",
        "1/2 wait until ready: boot",
        "1/2 wait until ready: weights 1 of 9 shards",
        "1/2 wait until ready: KV cache",
    ]
