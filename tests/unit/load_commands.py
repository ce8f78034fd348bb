"""What tests of `tritontui load` and `loads` share: results, how they came about, and what the documents promise."""

import re
from dataclasses import replace

import pytest

from engine.inference.prompt import Fault
from engine.load_plan import Arrival, Level
from engine.load_result import Digest, Doubt, Failures, LoadProgress
from tests.unit.cli_bench import DOCS, FakeEngine, engine
from tests.unit.load_results import load_result

__all__ = ["engine", "measured"]  # the fixtures

RESULT = replace(load_result()[0], id="3fa0b2c1")
LATER = replace(load_result(seed=9, slower=1.4)[0], id="9be1774d", began_at=RESULT.began_at + 3600)


def closed(*amounts: int) -> tuple[Level, ...]:
    return tuple(Level(Arrival.CLOSED, amount) for amount in amounts)


def progress(finished: int = 0, **changes: object) -> LoadProgress:
    known = LoadProgress(
        *(closed(4)[0], 2, 6, False, 2.5, 0.25, 10, 4, 5, 1),
        *(Digest(5, p50=0.0412), Digest(5, p50=0.0105), Digest(), 12.34, 789.0),
        *((Failures(Fault.CUT, 1, "It ended."),), (Doubt.CLIENT_SLOW,), RESULT.levels[:finished]),
    )
    return replace(known, **changes)  # type: ignore[arg-type]


@pytest.fixture
def measured(engine: FakeEngine) -> FakeEngine:
    engine.load_events = (progress(), progress(1), progress(2), RESULT)
    engine.kept_loads = (LATER, RESULT)
    return engine


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def documented(command: str) -> set[str]:
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {command}\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(\w+)`", section))
