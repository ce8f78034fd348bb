"""The commands that change something, follow it, cancel it and settle it: what they ask, tell, and exit with."""

import io
import json
import re
from dataclasses import fields, replace
from typing import Any

import pytest

from engine.plan import Outgoing, PlacedGpu, SwapPlan
from engine.request import Action
from engine.snapshot import Estimate, LeaseStatus, OperationStatus, Outcome, Step, StepKind
from tests.unit.cli_bench import DOCS, SWAP_PLAN, FakeEngine, engine
from tui.cli import main

__all__ = ["engine"]  # the fixture

Capture = pytest.CaptureFixture[str]
CHECK = Step(StepKind.CHECK, "check", Outcome.RUNNING, began_at=10.0, subject="new")
CHECKED = replace(CHECK, outcome=Outcome.DONE, ended_at=11.0)
DRAIN = Step(StepKind.DRAIN, "drain", Outcome.RUNNING, began_at=11.0, subject="old")
DRAINED = replace(DRAIN, outcome=Outcome.DONE, ended_at=25.0, detail="no request is under way")
PROMPT = Step(StepKind.PROMPT, "answer a prompt", subject="new")
BACK = Step(StepKind.START, "start again", Outcome.DONE, began_at=30.0, ended_at=34.0, subject="old", undo=True)
SWAP_ID = "5f2c81d0aa"
CHECKING = OperationStatus(SWAP_ID, "swap", "new", (CHECK,), 10.0, Outcome.RUNNING, "me@box")
DRAINING = replace(CHECKING, steps=(CHECKED, DRAIN, PROMPT), outgoing=("old",), estimate=Estimate(662.0, 550, 871, 6))
DONE = replace(
    DRAINING,
    steps=(CHECKED, DRAINED, replace(PROMPT, outcome=Outcome.DONE, began_at=25.0, ended_at=26.0)),
    outcome=Outcome.DONE,
    ended_at=26.0,
    message="new serves; old is stopped.",
    exit_code=0,
)
FAILING = replace(DONE, steps=(CHECKED, DRAINED, replace(PROMPT, outcome=Outcome.FAILED, began_at=25.0, ended_at=30.0)))
GOING_BACK = replace(
    FAILING,
    steps=(*FAILING.steps, BACK),
    outcome=Outcome.RUNNING,
    ended_at=None,
    exit_code=None,
    message="It answered 500.",
)
ROLLED_BACK = replace(
    GOING_BACK, outcome=Outcome.ROLLED_BACK, ended_at=40.0, exit_code=1, message="It answered 500. old serves again."
)
INTERRUPTED = replace(DRAINING, outcome=Outcome.INTERRUPTED, message="Its process is gone.")
LEASE = LeaseStatus("swap a → b", "eve@box", 900.0, alive=True, operation="99aa")


def section(command: str) -> str:
    return DOCS.read_text(encoding="utf-8").split(f"\n## {command}\n")[1].split("\n## ")[0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# -- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["up", "demo"], {"action": Action.START, "wait": False}),
        (["up", "demo", "--wait", "--timeout", "2m"], {"action": Action.START, "wait": True, "timeout_s": 120.0}),
        (["up", "demo", "--runtime", "docker"], {"runtime": "docker", "wait": False}),
        (["up", "demo", "--force"], {"wait": False, "force": True}),
        (["down", "demo"], {"action": Action.STOP}),
        (["restart", "demo", "--wait"], {"action": Action.RESTART}),
        (["restart", "demo", "--force"], {"action": Action.RESTART, "wait": False, "force": True}),
        (["rm", "demo"], {"action": Action.REMOVE}),
        (["swap", "demo", "--wait"], {"action": Action.SWAP}),
        (["swap", "demo", "--wait", "--from", "a", "--from", "b"], {"outgoing": ("a", "b")}),
        (["swap", "demo", "--wait", "--timeout", "9m", "--drain", "5s"], {"timeout_s": 540.0, "drain_s": 5.0}),
        (["swap", "demo", "--wait", "--drain", "0"], {"drain_s": 0.0}),
        (["swap", "demo", "--wait", "--runtime", "process"], {"runtime": "process"}),
        (
            ["swap", "demo", "--wait", "--full", "--remove", "--force"],
            {"full": True, "remove_outgoing": True, "force": True},
        ),
        (["adopt", "demo", "--yes"], {"action": Action.ADOPT}),
    ],
)
def test_changes_ask_for_one_operation(argv: list[str], expected: dict[str, Any], engine: FakeEngine) -> None:
    assert main(argv, engine) == 0
    (request,) = engine.requests
    usual: dict[str, Any] = {"outgoing": (), "runtime": None, "wait": True, "timeout_s": None, "force": False}
    usual |= {"drain_s": 60.0, "full": False, "remove_outgoing": False}
    found = {field.name: getattr(request, field.name) for field in fields(request) if field.name != "origin"}
    assert found == {**usual, "action": request.action, "name": "demo", **expected}
    assert request.origin.via == "command"


def test_a_swap_drains_for_as_long_as_the_settings_say(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.settings import Settings

    load = Settings.load
    monkeypatch.setattr(Settings, "load", lambda *args, **kwargs: replace(load(*args, **kwargs), drain_s=7.0))
    assert main(["swap", "new", "--wait"], engine) == 0
    assert engine.requests[0].drain_s == 7.0


# -- what is told -----------------------------------------------------------------------------------------------------


def test_steps_are_told_as_they_begin_and_end_and_the_outcome_last(engine: FakeEngine, capsys: Capture) -> None:
    assert main(["up", "demo", "--wait"], engine) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "start demo (1a2b3c4d)",
        "1/2 create",
        "1/2 create: 2s",
        "2/2 wait until ready: 3m01s, ready",
        "demo serves.",
    ]


def test_a_swap_that_is_rolled_back_tells_the_way_back_and_exits_1(engine: FakeEngine, capsys: Capture) -> None:
    engine.states = (CHECKING, DRAINING, GOING_BACK, ROLLED_BACK)
    assert main(["swap", "new", "--wait"], engine) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "swap new (5f2c81d0)",
        "check …",
        "swap old → new (5f2c81d0)",
        "start: usually 11m02s, 9m10s to 14m31s of 6 starts",
        "new: check: 1s",
        "2/3 old: drain",
        "2/3 old: drain: 14s, no request is under way",
        "3/3 new: answer a prompt: failed after 5s",
        "rolling back: It answered 500.",
        "back 1 old: start again: 4s",
        "tritontui: It answered 500. old serves again.",
    ]


def test_steps_that_a_failure_leaves_undone_still_count(engine: FakeEngine, capsys: Capture) -> None:
    broken_off = replace(DRAIN, outcome=Outcome.CANCELLED, ended_at=13.0)
    cancelled = replace(DRAINING, steps=(CHECKED, broken_off), cancelled=True)
    ended = replace(cancelled, outcome=Outcome.ROLLED_BACK, exit_code=1, message="It was cancelled.")
    engine.states = (DRAINING, cancelled, replace(cancelled, steps=(*cancelled.steps, BACK)), ended)
    assert main(["swap", "new", "--wait"], engine) == 1
    told = capsys.readouterr().err.splitlines()[-4:]
    assert told == [
        "2/3 old: drain: cancelled after 2s",
        "rolling back: it was cancelled",
        "back 1 old: start again: 4s",
        "tritontui: It was cancelled.",
    ]


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (DONE, 0),
        (ROLLED_BACK, 1),
        (replace(DONE, outcome=Outcome.FAILED, exit_code=1, message="Both are gone."), 1),
        (replace(DONE, outcome=Outcome.FAILED, exit_code=2, message="There is no profile new."), 2),
        (replace(DONE, outcome=Outcome.FAILED, exit_code=3, message="It is busy."), 3),
        (replace(DONE, outcome=Outcome.FAILED, exit_code=4, message="Docker does not answer."), 4),
        (INTERRUPTED, 1),
    ],
)
@pytest.mark.parametrize("command", ["up", "down", "restart", "rm", "swap"])
def test_each_outcome_has_its_exit_code_and_is_json(
    command: str, ended: OperationStatus, code: int, engine: FakeEngine, capsys: Capture
) -> None:
    engine.states = (ended,)
    wait = ["--wait"] if command in ("up", "restart", "swap") else []
    assert main([command, "new", *wait, "--json"], engine) == code
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["outcome"], found["message"]) == (ended.outcome.value, ended.message)
    assert ended.message in err.splitlines()[-1 if ended is not INTERRUPTED else -2]
    assert not {key for key in [*found, *found["steps"][0]] if f"`{key}`" not in section("up")}


def test_notes_and_the_kept_log_are_told(engine: FakeEngine, capsys: Capture) -> None:
    taken = "The lease of bob@box was taken over: its process is gone."
    engine.states = (replace(ROLLED_BACK, notes=(taken,), log_path="/state/logs/new.log"),)
    assert main(["swap", "new", "--wait"], engine) == 1
    err = capsys.readouterr().err
    assert err.count(taken) == 1
    assert "/state/logs/new.log" in err


def test_an_interrupted_one_says_how_to_settle_it(engine: FakeEngine, capsys: Capture) -> None:
    engine.states = (INTERRUPTED,)
    assert main(["swap", "new", "--wait"], engine) == 1
    assert "`tritontui recover 5f2c81d0`" in capsys.readouterr().err


# -- waiting and not --------------------------------------------------------------------------------------------------


def test_a_swap_without_wait_ends_when_its_check_has_passed(engine: FakeEngine, capsys: Capture) -> None:
    engine.states = (CHECKING, DRAINING, DONE)
    assert main(["swap", "new", "--json"], engine) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["outcome"] == "running"
    assert err.splitlines()[-1] == (
        "swap old → new is under way, and goes to its end by itself. "
        "`tritontui attach 5f2c81d0` follows it, `tritontui cancel 5f2c81d0` rolls it back."
    )


def test_a_swap_without_wait_still_tells_a_refusal(engine: FakeEngine, capsys: Capture) -> None:
    refused = replace(CHECKING, steps=(replace(CHECK, outcome=Outcome.FAILED, ended_at=11.0),), exit_code=3)
    engine.states = (CHECKING, replace(refused, outcome=Outcome.FAILED, message="Docker is busy with swap a → b."))
    assert main(["swap", "new"], engine) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "tritontui: Docker is busy with swap a → b."


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (
            (CHECKING, DRAINING),
            "Interrupted; swap old → new goes on. `tritontui attach 5f2c81d0` follows it, "
            "`tritontui cancel 5f2c81d0` rolls it back.",
        ),
        (
            (CHECKING, GOING_BACK),
            "Interrupted; swap old → new is rolled back all the same. `tritontui attach 5f2c81d0` follows it.",
        ),
        ((), "Interrupted; `tritontui status` shows whether it was begun."),
    ],
)
def test_ctrl_c_ends_the_waiting_and_says_what_goes_on(
    states: tuple[OperationStatus, ...], told: str, capsys: Capture
) -> None:
    engine = FakeEngine(KeyboardInterrupt())
    engine.states = states
    assert main(["swap", "new", "--wait", "--json"], engine) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == told


# -- swap plans -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argv", [["plan", "new", "--swap"], ["swap", "new", "--dry-run"]])
def test_a_swap_is_planned_without_being_done(argv: list[str], engine: FakeEngine, capsys: Capture) -> None:
    assert main([*argv, "--from", "demo", "--full"], engine) == 0
    out, err = capsys.readouterr()
    assert engine.asked == [("plan_swap", "new", ("demo",), True, None)]
    for told in (
        "demo → new\n",
        "demo on docker, running (GPU 0); nv_inference_pending tells its requests under way\n",
        "full: what goes is stopped, then what comes is started\n",
        "They run in different containers.\n",
        "Neither allows vLLM's sleep mode.\n",
        "1     new   check\n",
        "2     new   create\n",
        "3     demo  drain\n",
        "new   answer a prompt\n",
    ):
        assert out.count(told) == 1, told
    assert err == "warning: Its image is old.\n"


class ObstructedEngine(FakeEngine):
    def plan_swap(
        self, name: str, outgoing: tuple[str, ...] = (), *, full: bool = False, runtime: str | None = None
    ) -> SwapPlan:
        gpu = PlacedGpu(0, "GPU-1", "H100", 80 << 30, 71 << 30, ("demo",))
        other = Outgoing("more", "docker", "id2", True, ("GPU-1",), {"GPU-1": 1 << 30}, "port 8000")
        incoming = replace(SWAP_PLAN.incoming, obstacles=("GPU 0 is too small.",), placement=(gpu,))
        return replace(SWAP_PLAN, incoming=incoming, outgoing=(*SWAP_PLAN.outgoing, other))


def test_a_swap_that_would_be_refused_says_why_and_exits_3(capsys: Capture) -> None:
    assert main(["plan", "new", "--swap"], ObstructedEngine()) == 3
    out, err = capsys.readouterr()
    assert "0    H100  GPU-1  71.0 of 80.0  71.0        40.0         demo" in out
    assert "demo, more → new" in out
    assert "nothing tells its requests under way" in out
    assert err.splitlines()[:2] == [
        "The swap would be refused; --force does it all the same.",
        "refused: GPU 0 is too small.",
    ]
    assert main(["swap", "new", "--dry-run", "--json"], ObstructedEngine()) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["obstacles"] == ["GPU 0 is too small."]
    assert found["outgoing"][0]["frees_bytes"] == {"GPU-1": 70 << 30}
    assert found["incoming"]["command_line"]
    assert not {key for key in [*found, *found["outgoing"][0]] if f"`{key}`" not in section("plan")}


@pytest.mark.parametrize("argv", [["plan", "new", "--swap"], ["swap", "new", "--dry-run"]])
def test_a_swap_is_planned_for_the_runtime_that_is_named(argv: list[str], engine: FakeEngine) -> None:
    assert main([*argv, "--runtime", "process"], engine) == 0
    assert engine.asked == [("plan_swap", "new", (), False, "process")]


# -- help -------------------------------------------------------------------------------------------------------------

HELPED = ["up", "down", "restart", "rm", "swap", "attach", "cancel", "recover", "adopt", "history", "plan"]


@pytest.mark.parametrize("command", HELPED)
def test_every_option_is_documented(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    options = set(re.findall(r"^ +(--[a-z-]+)", capsys.readouterr().out, re.MULTILINE))
    options -= {"--json", "--debug", "--profiles", "--read-only"}  # told once for all
    told = [line for line in DOCS.read_text(encoding="utf-8").splitlines() if f"| `tritontui {command} " in line]
    assert not {option for option in options if not any(option in line for line in told)}
