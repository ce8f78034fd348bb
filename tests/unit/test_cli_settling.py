"""The commands that attach to operations, cancel and settle them, and that adopt what was started by hand."""

import io
import json
import re
from dataclasses import replace

import pytest

from engine.errors import NotFound, Refused
from engine.request import Action
from engine.snapshot import LeaseStatus, OperationStatus, Outcome
from tests.unit.cli_bench import STARTED, STARTING, FakeEngine, engine
from tests.unit.test_cli_operations import DONE, DRAINING, GOING_BACK, INTERRUPTED, LEASE, ROLLED_BACK, SWAP_ID
from tui.cli import main

__all__ = ["engine"]  # the fixture

Capture = pytest.CaptureFixture[str]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# -- attach and cancel ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", [[], ["new"], ["old"], ["5f2c"], [SWAP_ID]])
def test_attach_follows_what_is_meant_and_exits_as_it_ends(which: list[str], engine: FakeEngine) -> None:
    engine.known = (DRAINING, STARTED)
    engine.states = (DRAINING, ROLLED_BACK)
    assert main(["attach", *which], engine) == 1
    assert engine.asked == [("follow", SWAP_ID)]


def test_attach_to_one_that_has_ended_tells_its_outcome(engine: FakeEngine, capsys: Capture) -> None:
    engine.known = (STARTED,)
    assert main(["attach", "1a2b3c4d"], engine) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "demo serves."


@pytest.mark.parametrize("command", ["attach", "cancel"])
@pytest.mark.parametrize(
    ("which", "known", "held", "code", "told"),
    [
        ([], (), None, 2, "No operation is under way. `tritontui history` shows what was done."),
        (["nwe"], (DRAINING,), None, 2, "No operation with nwe is under way. Did you mean new?"),
        (["demo"], (STARTED,), None, 2, "No operation with demo is under way."),
        (
            [],
            (DRAINING, STARTING),
            None,
            2,
            "More than one operation is under way: 5f2c81d0 (swap old → new), 1a2b3c4d (start demo). "
            "Name one of them by its id.",
        ),
        (
            [],
            (),
            LEASE,
            3,
            "swap a → b is under way, by eve@box for 1m40s. "
            "It can be followed and cancelled by eve on box: `tritontui cancel 99aa`.\n",
        ),
        (
            [],
            (),
            replace(LEASE, who="me@here from 10.0.0.9"),
            3,
            "swap a → b is under way, by me@here from 10.0.0.9 for 1m40s. It was begun with another state folder than "
            "this one. It can be followed and cancelled with the TRITONTUI_STATE_DIR that it was begun with.\n",
        ),
        (
            [],
            (),
            replace(LEASE, who="me@there", alive=None),
            3,
            "swap a → b is under way, by me@there for 1m40s, and whether its process still lives cannot be told from "
            "here. It can be followed and cancelled by me on there: `tritontui cancel 99aa`.\n",
        ),
        (
            [],
            (),
            replace(LEASE, who="somebody unknown", operation=""),
            3,
            "swap a → b is under way, by somebody unknown for 1m40s. `tritontui status` shows when it has ended.\n",
        ),
        (["b"], (DRAINING,), LEASE, 3, "swap a → b is under way, by eve@box"),
        (["99aa"], (), LEASE, 3, "swap a → b is under way, by eve@box"),
        ([], (), replace(LEASE, alive=False), 2, "No operation is under way."),
        (["old"], (INTERRUPTED,), None, 2, "swap old → new was interrupted: its process is gone. `tritontui recover"),
    ],
)
def test_what_cannot_be_followed_is_said_exactly(
    command: str,
    which: list[str],
    known: tuple[OperationStatus, ...],
    held: LeaseStatus | None,
    code: int,
    told: str,
    engine: FakeEngine,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tui.format.now", lambda: 1000.0)
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    engine.known, engine.held = known, held
    assert main([command, *which], engine) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tritontui: {told}")
    assert err.count("\n") == 1
    assert engine.asked == []


@pytest.mark.parametrize(
    ("ended", "code"),
    [(ROLLED_BACK, 0), (DONE, 1), (replace(ROLLED_BACK, outcome=Outcome.FAILED, exit_code=4), 4)],
)
def test_cancel_succeeds_when_it_was_rolled_back(
    ended: OperationStatus, code: int, engine: FakeEngine, capsys: Capture
) -> None:
    engine.known = (DRAINING,)
    engine.states = (DRAINING, replace(GOING_BACK, cancelled=True, message=""), replace(ended, cancelled=True))
    assert main(["cancel"], engine) == code
    assert engine.asked == [("cancel", SWAP_ID), ("follow", SWAP_ID)]
    err = capsys.readouterr().err
    assert "rolling back: it was cancelled\n" in err
    assert ended.message in err


def test_what_is_rolled_back_already_is_only_waited_for(engine: FakeEngine) -> None:
    engine.known = (GOING_BACK,)
    engine.states = (GOING_BACK, ROLLED_BACK)
    assert main(["cancel"], engine) == 0
    assert engine.asked == [("follow", SWAP_ID)]


def test_cancelling_what_has_ended_says_so(engine: FakeEngine, capsys: Capture) -> None:
    engine.known = (DONE,)
    assert main(["cancel", SWAP_ID], engine) == 2
    assert capsys.readouterr().err == "tritontui: swap old → new has ended already: done.\n"


def test_cancelling_another_users_is_refused_by_the_engine(capsys: Capture) -> None:
    engine = FakeEngine(Refused("It is eve's."))
    engine.known = (DRAINING,)
    assert main(["cancel"], engine) == 3
    assert capsys.readouterr().err == "tritontui: It is eve's.\n"


# -- recover ----------------------------------------------------------------------------------------------------------


def test_recover_tells_what_was_done_and_what_each_choice_comes_to(engine: FakeEngine, capsys: Capture) -> None:
    settled = replace(INTERRUPTED, id="77", settled_by="finished by me@box")
    engine.known = (INTERRUPTED, settled, DONE)
    assert main(["recover"], engine) == 0
    facts = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert facts["operation"] == "5f2c81d0  swap old → new"
    assert facts["done"] == "new: check"
    assert facts["broken off"] == "old: drain"
    assert facts["--finish"] == "new serves, and old is let go."
    assert facts["--roll-back"] == "new is taken away, and old serves again."
    assert engine.requests == []
    assert main(["recover", "--json"], engine) == 0
    (found,) = json.loads(capsys.readouterr().out)["interrupted"]
    assert found["id"] == SWAP_ID


@pytest.mark.parametrize(
    ("flag", "action"), [("--finish", Action.FINISH), ("--roll-back", Action.ROLL_BACK)], ids=["finish", "roll-back"]
)
@pytest.mark.parametrize("which", [[], ["old"], ["5f2"]], ids=["only", "name", "id"])
def test_recover_settles_one(flag: str, action: Action, which: list[str], engine: FakeEngine) -> None:
    engine.known = (INTERRUPTED,)
    assert main(["recover", *which, flag], engine) == 0
    (request,) = engine.requests
    assert (request.action, request.name) == (action, SWAP_ID)


@pytest.mark.parametrize("argv", [[], ["--finish"], ["--roll-back"]])
def test_nothing_to_recover_is_no_failure(argv: list[str], engine: FakeEngine, capsys: Capture) -> None:
    engine.known = (DONE,)
    assert main(["recover", *argv], engine) == 0
    assert capsys.readouterr().err == "There is nothing to recover.\n"
    assert engine.requests == []


def test_recover_does_not_choose_among_several(engine: FakeEngine, capsys: Capture) -> None:
    engine.known = (INTERRUPTED, replace(STARTING, outcome=Outcome.INTERRUPTED))
    assert main(["recover", "--finish"], engine) == 2
    assert "More than one operation was interrupted" in capsys.readouterr().err
    assert main(["recover", "nobody", "--finish"], engine) == 2
    assert "No operation with nobody was interrupted." in capsys.readouterr().err
    assert engine.requests == []


# -- adopt ------------------------------------------------------------------------------------------------------------


def test_adopt_shows_the_profile_and_asks(engine: FakeEngine, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("perhaps\ny\n"))
    assert main(["adopt", "docker/by_hand"], engine) == 0
    out, err = capsys.readouterr()
    assert "── /home/me/profiles/hand.yaml\nname: hand\nstack: triton\n──\n" in out
    assert "note: It was started with --rm: stopping it removes it." in err
    assert "Write this profile and adopt by_hand? y/n [n]: " in err
    assert "Answer y or n." in err
    (request,) = engine.requests
    assert (request.action, request.name) == (Action.ADOPT, "docker/by_hand")


@pytest.mark.parametrize(
    ("argv", "answer", "code", "told"),
    [
        ([], Terminal("\n"), 3, "Nothing was changed."),
        ([], Terminal("n\n"), 3, "Nothing was changed."),
        ([], Terminal(""), 130, ""),
        ([], io.StringIO("y\n"), 3, "tritontui: docker/x is adopted only with your yes."),
        (["--json"], Terminal("y\n"), 3, "tritontui: docker/x is adopted only with your yes."),
        (["--dry-run"], io.StringIO(), 0, "note: It was"),
        (["--dry-run", "--yes"], io.StringIO(), 0, "note: It was"),
    ],
)
def test_nothing_is_adopted_without_a_yes(
    argv: list[str],
    answer: io.StringIO,
    code: int,
    told: str,
    engine: FakeEngine,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", answer)
    assert main(["adopt", "docker/x", *argv], engine) == code
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert engine.requests == []


def test_what_cannot_be_adopted_is_told_before_anything_is_asked(capsys: Capture) -> None:
    assert main(["adopt", "nobody", "--yes"], FakeEngine(NotFound("There is no container nobody."))) == 2
    assert capsys.readouterr().err == "tritontui: There is no container nobody.\n"
