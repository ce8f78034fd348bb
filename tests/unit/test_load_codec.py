"""Plans, events and results as JSON, and back."""

from pathlib import Path

import pytest

from engine.inference.prompt import Fault, Sampling, Style, Transport
from engine.load import codec
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Objectives, Workload
from engine.load_result import Digest, Doubt, Failures, LoadProgress
from tests.unit.load_results import failed, load_result, request

PLAN = LoadPlan(
    (Level(Arrival.POISSON, 2.5),),
    requests=None,
    duration_s=30.0,
    workload=Workload(Lengths(100, 20), file=Path("/tmp/prompts – é.txt")),
    sampling=Sampling(temperature=0.0, stop=("a", "\n")),
    objectives=Objectives(itl_s=0.02),
    style=Style.COMPLETION,
    transport=Transport.TRITON_GRPC,
)


def test_all_comes_back_as_it_was() -> None:
    result, records = load_result()
    progress = LoadProgress(
        *(result.plan.levels[0], 1, 6, False, 2.5, None, 10, 4, 5, 1, Digest(5, 0.1), Digest(), Digest()),
        *(1.5, 96.0, (Failures(Fault.CUT, 1, "It ended."),), (Doubt.NOT_SENT,), result.levels[:1]),
    )
    assert codec.plan(codec.dump(PLAN)) == PLAN
    assert codec.load_event(codec.dump(result)) == codec.result(codec.dump(result)) == result
    assert codec.load_event(codec.dump(progress)) == progress
    assert "\n" not in codec.dump(progress)
    assert codec.records(codec.dump(records)) == records
    some = ((request(0.0), failed(None)), ())
    assert codec.records(codec.dump(some)) == some


@pytest.mark.parametrize("text", ["", "null", "{}", "[", "[" * 100_000, '{"levels": 1}', "\ud800", '{"id": "a"}'])
def test_what_is_something_else_is_a_value_error(text: str) -> None:
    for read in (codec.plan, codec.load_event, codec.result):
        with pytest.raises(ValueError):  # noqa: PT011 (whatever its words)
            read(text)


def test_what_a_later_version_adds_does_not_hide_the_rest() -> None:
    assert codec.plan(codec.dump(PLAN).replace("{", '{"later": [1],', 1)) == PLAN
