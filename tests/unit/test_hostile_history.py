"""A file of metrics that is damaged, or that a newer version has written: told, and nothing ends for it."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from engine.metrics_reading import Group, Series
from engine.observe import metric_history
from engine.observe.history_file import HistoryFile, to_text
from engine.observe.metric_history import MOST_SUBJECTS, History
from engine.observe.timeline import STEP_S, Step, Timeline
from tests.unit.operations_bench import until

WAITING = Series("waiting", "Waiting", "", 3.0, "vllm:num_requests_waiting", group=Group.REQUESTS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Half an hour of two deployments."""
    path, number = tmp_path / "metrics.sqlite", int(time.time() // STEP_S)
    steps = [Step(number - back, 10, {"waiting": 1.0}) for back in range(180, 0, -1)]
    file = HistoryFile(path)
    assert file.write({name: (["waiting"], steps) for name in ("a", "b")}, {"a": to_text([WAITING])})
    return path


def use(path: Path) -> HistoryFile:
    """As a console does, for nine days."""
    file, now, timeline = HistoryFile(path), time.time(), Timeline()
    timeline.append(now, {"waiting": 1.0})
    timeline.put_before(file.steps("a", now - 3600))
    file.measured("a", 0, now)
    file.figures("a")
    for days in (0, 2, 2, 9):
        file.tidy(now + days * 86_400)
    file.write({"a": (["waiting"], [Step(int(now // STEP_S), 3, {"waiting": 1.0})])}, {})
    return file


@pytest.mark.parametrize("value", [0, -1, 1 << 62, 1e300, float("inf"), "abc", b"\0", ""], ids=repr)
@pytest.mark.parametrize("column", ["at", "seconds", "samples", "layout", "means", "subject"])
def test_a_column_with_anything_in_it(path: Path, column: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE OR IGNORE means SET {column} = ? WHERE rowid % 7 = 3", (value,))
    use(path)


@pytest.mark.parametrize("keys", ["{", "7", "null", "[" * 9000, '["a", "b"]'])
def test_keys_that_are_none(path: Path, keys: str) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE layouts SET keys = ?", (keys,))
    file = HistoryFile(path)
    assert file.steps("a", 0) == []
    assert file.pins("a") == frozenset()
    assert [one.key for one in file.figures("a")] == ["waiting"]
    assert "cannot be read" in file.problem  # though what was read after it could be
    assert "It is damaged" in file.problem
    use(path)


@pytest.mark.parametrize("harm", [lambda data: data[:5000], lambda data: b"garbage" * 1000, lambda data: data[:100]])
def test_a_console_lives_on_with_a_file_that_is_none(
    path: Path, harm: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_history, "WRITE_EVERY_S", 0.05)
    path.write_bytes(harm(path.read_bytes()))
    history, now = History(path), time.time()
    history.open()
    for second in range(60):
        history.append("a", now - 60 + second, {"waiting": 4.0})
    until(lambda: bool(history.problem))
    assert "It is damaged: move it away" in history.problem
    path.unlink()
    until(lambda: not history.problem)
    assert len(history.timeline("a").points("waiting")[0]) >= 60
    history.close()


def test_what_a_newer_version_calls_its_groups(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE figures SET series = replace(series, 'requests', 'energy')")
    assert [(one.key, one.group) for one in HistoryFile(path).figures("a")] == [("waiting", Group.SERVER)]


def test_subjects_that_are_others_every_second_fill_no_memory(path: Path) -> None:
    history, now = History(path), time.time()
    for number in range(MOST_SUBJECTS + 500):
        history.append(f"gpu:{number}", now + number / 1000, {"utilization": 1.0})
    history.write()
    assert len(history._kept) == len(history._written) == MOST_SUBJECTS
    assert len(history._unread) <= MOST_SUBJECTS
    assert f"gpu:{MOST_SUBJECTS + 499}" in history._kept
