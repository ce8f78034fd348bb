"""Load tests that were kept: bounded, whatever becomes of the file, and however many write at once."""

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.load import store as module
from engine.load.store import LoadStore, cut, left_out
from engine.load_plan import Arrival, Level, LoadPlan
from engine.load_result import STOPPED_BY_HAND, LoadOutcome
from tests.unit.load_results import load_result, request

PLAN = LoadPlan((Level(Arrival.CLOSED, 1),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "loads.sqlite"


def test_what_is_kept_comes_back_newest_first(path: Path) -> None:
    result, records = load_result()
    store = LoadStore(path)
    older = store.keep(result, records)
    newer = store.keep(replace(result, began_at=result.began_at + 1, deployment="qwen"), ())
    assert older.id
    assert older == replace(result, id=older.id)
    again = LoadStore(path)
    assert again.results() == (newer, older)
    assert again.results(limit=1) == (newer,)
    assert again.results("llama") == (older,)
    assert again.results("nobody") == ()
    assert again.records(older) == records
    assert again.records(newer) == again.records(replace(newer, id="none")) == ()
    assert again.problem == ""
    assert path.stat().st_mode & 0o077 == 0, "prompts may be told by their file's name: for its owner only"


def test_only_the_newest_are_kept_and_of_fewer_the_requests(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RESULTS", 5)
    monkeypatch.setattr(module, "MOST_WITH_RECORDS", 2)
    result, records = load_result(PLAN)
    store = LoadStore(path)
    kept = [store.keep(replace(result, began_at=float(at)), records) for at in range(8)]
    assert [one.id for one in store.results()] == [one.id for one in reversed(kept[3:])]
    assert [bool(store.records(one)) for one in kept[3:]] == [False, False, False, True, True]


def test_a_clock_that_is_set_back_makes_none_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RESULTS", 2)
    monkeypatch.setattr(module, "MOST_WITH_RECORDS", 1)
    result, records = load_result(PLAN)
    store = LoadStore(path)
    _, second, last = [store.keep(replace(result, began_at=float(at)), records) for at in (300, 200, 100)]
    assert store.results() == (last, second)
    assert store.records(last) == records


def test_too_many_requests_are_cut_level_by_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RECORDS", 20)
    levels = tuple(tuple(request(float(at)) for at in range(count)) for count in (30, 2, 9, 0))
    assert [len(level) for level in cut(levels)] == [9, 2, 9, 0]
    assert cut(levels)[0] == levels[0][:9]
    assert [len(level) for level in cut((levels[0], levels[1], levels[0]))] == [9, 2, 9]
    assert cut(levels[1:]) == levels[1:]
    assert cut(()) == ()


def test_what_was_cut_is_told() -> None:
    result, records = load_result(PLAN)
    assert left_out(result, records) == 0
    assert left_out(result, tuple(level[:60] for level in records)) == 40


def test_a_damaged_file_is_told_and_nothing_raised(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1000)
    store = LoadStore(path)
    result, records = load_result(PLAN)
    unkept = store.keep(result, records)
    assert unkept == replace(result, message=store.problem), "it has no id, because it is not kept"
    assert "cannot be written" in store.problem
    assert "damaged" in store.problem
    assert store.results() == ()
    assert store.records(replace(result, id="a")) == ()


def test_one_that_cannot_be_kept_says_why_after_what_it_said(path: Path) -> None:
    path.mkdir(parents=True)
    store = LoadStore(path)
    result, records = load_result(PLAN)
    unkept = store.keep(replace(result, message="It was stopped before its end."), records)
    assert (unkept.id, unkept.message) == ("", f"It was stopped before its end. {store.problem}")


def test_the_requests_of_the_last_that_could_not_be_kept_are_at_hand_and_never_anothers(path: Path) -> None:
    store = LoadStore(path)
    result, records = load_result(PLAN)
    assert store.records(result) == ()
    later, others = replace(result, began_at=result.began_at + 60), (records[0][:5],)
    store.hold(result, records)
    assert store.records(result) == records
    assert store.records(replace(result, message="“stop llama” has begun.")) == records
    assert store.records(later) == ()
    store.hold(later, others)
    assert store.records(later) == others
    assert store.records(result) == ()
    kept = store.keep(later, records)
    assert store.records(kept) == records


def test_what_was_stopped_by_hand_before_any_answer_is_not_kept(path: Path) -> None:
    store = LoadStore(path)
    result, _ = load_result(PLAN)
    stopped = replace(result, outcome=LoadOutcome.STOPPED, message=STOPPED_BY_HAND)
    unanswered = replace(result.levels[0], done=0)
    for nothing in (replace(stopped, levels=()), replace(stopped, levels=(unanswered,))):
        assert store.keep(nothing, ()) == nothing
        assert store.results() == ()
    why = replace(stopped, levels=(), message=f"“stop llama” has begun. {STOPPED_BY_HAND}")
    refused = replace(stopped, levels=(), outcome=LoadOutcome.FAILED, message="It has no model x.")
    failed = replace(stopped, levels=(replace(unanswered, failed=2),))
    kept = [store.keep(one, ()) for one in (why, refused, failed, stopped)]
    assert list(store.results()) == kept[::-1]


def test_one_damaged_result_does_not_hide_the_others(path: Path) -> None:
    result, records = load_result(PLAN)
    store = LoadStore(path)
    kept = [store.keep(replace(result, began_at=float(at)), records) for at in range(3)]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE loads SET result = '{\"id\": 3}', records = 'x' WHERE id = ?", (kept[1].id,))
        database.execute("UPDATE loads SET records = x'00ff' WHERE id = ?", (kept[2].id,))
    assert store.results() == (kept[2], kept[0])
    assert store.problem.startswith("1 kept load tests cannot be read")
    for damaged in kept[1:]:
        assert store.records(damaged) == ()
        assert "cannot be read" in store.problem
    assert store.records(kept[0]) == records


def test_several_consoles_keep_at_once(path: Path) -> None:
    result, records = load_result(PLAN)
    ids: list[str] = []

    def keep(seed: int) -> None:
        store = LoadStore(path)
        for at in range(5):
            ids.append(store.keep(replace(result, began_at=float(10 * seed + at)), records).id)
            assert store.problem == ""

    threads = [threading.Thread(target=keep, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(set(ids)) == 20
    assert {one.id for one in LoadStore(path).results()} == set(ids)
