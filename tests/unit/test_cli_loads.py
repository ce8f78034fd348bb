"""`tritontui loads`: what it lists, shows again and compares, and with which code it exits."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from engine.load_plan import Arrival, Level
from engine.load_result import STOPPED_BY_HAND, Doubt, LoadOutcome
from tests.unit.cli_bench import Capture, FakeEngine
from tests.unit.load_commands import LATER, RESULT, documented, engine, measured
from tui.cli import main

__all__ = ["engine", "measured"]  # the fixtures


def test_those_that_were_kept_are_listed(measured: FakeEngine, capsys: Capture) -> None:
    assert main(["loads", "llama", "--limit", "5"], measured) == 0
    header, later, first = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["ID", "WHEN"]
    assert later.startswith("9be1774d")
    assert re.search(r"llama +1,4,16 at once, 2 times +600 +691 +done$", first)
    assert measured.asked == [("loads", "llama", 5)]
    measured.kept_loads = ()
    assert main(["loads"], measured) == 0
    assert "No load test was kept." in capsys.readouterr().err


def test_the_list_says_what_is_in_doubt_and_mixes_no_units(measured: FakeEngine, capsys: Capture) -> None:
    doubted = replace(RESULT.levels[0], doubts=(Doubt.SHORT,))
    rate = replace(RESULT.plan, levels=(Level(Arrival.POISSON, 0.5), Level(Arrival.POISSON, 2)), repeats=1)
    measured.kept_loads = (replace(RESULT, plan=rate, levels=(doubted, RESULT.levels[1])), replace(RESULT, levels=()))
    assert main(["loads"], measured) == 0
    _, first, empty = capsys.readouterr().out.splitlines()
    assert "0.5,2/s poisson" in first
    assert first.endswith("done, 1 of 2 in doubt")
    assert "–" in empty


def test_the_list_says_why_nothing_was_measured(measured: FakeEngine, capsys: Capture) -> None:
    why = "tiny has no LoRA adapter \x1b[2Jx.\nIt has none. " + "Ask without one. " * 20
    refused = replace(RESULT, levels=(), outcome=LoadOutcome.FAILED, message=why)
    by_hand = replace(RESULT, outcome=LoadOutcome.STOPPED, message=STOPPED_BY_HAND)
    measured.kept_loads = (refused, by_hand)
    assert main(["loads"], measured) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert "failed: tiny has no LoRA adapter " in first
    assert first.endswith("…")
    assert "\x1b" not in first
    assert second.endswith("stopped"), "that it was stopped is no reason"


def test_one_is_shown_again_and_written(measured: FakeEngine, capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    assert main(["loads", "--show", "3fa", "--out", str(path)], measured) == 0
    assert capsys.readouterr().out.startswith("LEVEL")
    assert measured.asked[-1] == ("export_load", RESULT, path)
    assert main(["loads", "--show", "3fa", "--json"], measured) == 0
    assert json.loads(capsys.readouterr().out)["result"]["id"] == "3fa0b2c1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--show nope", "No kept load test has the id nope."),
        ("--compare 3fa 9", "measured no level that both have"),
        ("--out a.csv", "--show ID"),
        ("--show 3 --compare 3 9", "not allowed with"),
    ],
)
def test_what_cannot_be_shown_is_told(options: str, said: str, measured: FakeEngine, capsys: Capture) -> None:
    other = replace(LATER, levels=tuple(replace(one, level=Level(Arrival.CONSTANT, 3)) for one in LATER.levels))
    measured.kept_loads = (RESULT, other)
    try:
        code: object = main(["loads", *options.split()], measured)
    except SystemExit as end:
        code = end.code
    assert code in (1, 2)
    assert said in capsys.readouterr().err


def test_a_test_that_measured_nothing_is_not_compared(measured: FakeEngine, capsys: Capture) -> None:
    measured.kept_loads = (RESULT, replace(LATER, levels=(), outcome=LoadOutcome.FAILED, message="Nobody answered."))
    assert main(["loads", "--compare", "3fa", "9"], measured) == 1
    assert "9be1774d measured nothing: Nobody answered." in capsys.readouterr().err


def test_an_id_that_begins_several_is_refused(measured: FakeEngine, capsys: Capture) -> None:
    measured.kept_loads = (replace(RESULT, id="aa1"), replace(RESULT, id="aa2"))
    assert main(["loads", "--show", "aa"], measured) == 2
    assert "2 kept load tests begin with aa." in capsys.readouterr().err


def test_two_are_compared_with_the_noise(measured: FakeEngine, capsys: Capture) -> None:
    assert main(["loads", "--compare", "3fa0", "9be1"], measured) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["LEVEL", "FIGURE", "3fa0b2c1", "9be1774d", "CHANGE", "NOISE"]
    itl = next(line for line in lines if line.startswith("16 at once") and "ITL p50" in line)
    assert re.search(r"ITL p50 +19\.\d ms +27\.\d ms +\+(39|40)\.\d % +±\d+\.\d % +beyond noise$", itl)
    assert lines[-1].startswith("Noise:")
    assert main(["loads", "--compare", "3fa0", "9be1", "--json"], measured) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert set(found) <= documented("loads")
    assert set(found["changes"][0]) <= documented("loads")
    assert found["changes"][3]["beyond_noise"] is True


def test_without_repeats_the_noise_is_not_known(measured: FakeEngine, capsys: Capture) -> None:
    once = replace(RESULT.plan, repeats=1)
    measured.kept_loads = tuple(replace(one, plan=once, levels=one.levels[:3]) for one in (RESULT, LATER))
    assert main(["loads", "--compare", "3fa0", "9be1"], measured) == 0
    out = capsys.readouterr().out
    assert "noise unknown" in out
    assert out.endswith("Noise is known from --repeats 2 on.\n")
