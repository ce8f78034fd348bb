"""Operations in words, as the console and the commands both tell them."""

from dataclasses import replace

import pytest

from engine.snapshot import Estimate, OperationStatus, Outcome, Step, StepKind
from tui.operation_words import pace, place

CHECK = Step(StepKind.CHECK, "check", Outcome.DONE, began_at=900.0, ended_at=1000.0, subject="m")
START = Step(StepKind.START, "start", Outcome.RUNNING, began_at=1000.0, subject="m")
PROMPT = Step(StepKind.PROMPT, "answer a prompt", subject="m")
STARTING = OperationStatus("1a2b", "start", "m", (CHECK, START, PROMPT), 900.0, Outcome.RUNNING, "me@box")


@pytest.mark.parametrize(
    ("estimate", "elapsed", "told"),
    [
        (None, 10, ""),
        (Estimate(41, 38, 55, 8), 0, "~41s left"),
        (Estimate(200, 180, 240, 8), 10, "~3m left"),
        (Estimate(7800, 7000, 9000, 8), 60, "~2h09m left"),
        (Estimate(41, 38, 55, 8), 41, "at most ~14s left"),
        (Estimate(41, 38, 55, 8), 55, "at most ~1s left"),
        (Estimate(41, 38, 55, 8), 60, ""),
        (Estimate(41, 38, 55, 8), 61, "late: usually 41s, nine in ten within 55s of 8 starts"),
        (Estimate(41, 38, 55, 4), 83, "late: usually 41s, at most 55s of 4 starts"),
        (Estimate(662, 662, 662, 1), 1000, "late: the one start known took 11m02s"),
        (Estimate(0.4, 0.2, 0.6, 3), 3.7, "late: usually 0.4s, at most 0.6s of 3 starts"),
    ],
)
def test_how_a_start_stands_to_its_estimate_is_told_as_all_durations_are(
    estimate: Estimate | None, elapsed: float, told: str
) -> None:
    assert pace(replace(STARTING, estimate=estimate), 1000.0 + elapsed) == told


def test_nothing_is_left_to_tell_of_one_that_goes_back_or_has_ended() -> None:
    late = replace(STARTING, estimate=Estimate(1, 1, 1, 1))
    back = replace(START, title="start again", undo=True)
    assert pace(replace(late, steps=(CHECK, back)), 2000.0) == ""
    assert pace(replace(late, outcome=Outcome.DONE), 2000.0) == ""


def test_the_steps_are_counted_once_a_check_has_found_out_which_they_are() -> None:
    stop = Step(StepKind.STOP, "stop", Outcome.RUNNING, began_at=890.0, subject="m")
    checking = replace(CHECK, outcome=Outcome.RUNNING, ended_at=None)
    later = replace(CHECK, outcome=None, began_at=None, ended_at=None)
    shown = [
        place(replace(STARTING, steps=steps))
        for steps in (
            (stop, later, replace(START, outcome=None), PROMPT),
            (replace(stop, outcome=Outcome.DONE), checking, replace(START, outcome=None), PROMPT),
            (replace(stop, outcome=Outcome.DONE), CHECK, START, PROMPT),
            (stop,),
        )
    ]
    assert shown == ["stop …", "check …", "3/4 start", "1/1 stop"]
