"""Records that the process runtime keeps as files."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from engine.errors import OperationFailed, RuntimeUnreachable
from engine.runtimes import process_records
from engine.runtimes.process import ProcessRuntime
from engine.settings import Settings


@pytest.fixture
def local(tmp_path: Path) -> ProcessRuntime:
    return ProcessRuntime(Settings(tmp_path, tmp_path / "state", tmp_path))


def test_a_record_is_a_file_and_of_several_at_once_one_makes_it(local: ProcessRuntime, tmp_path: Path) -> None:
    assert local.record("r") is None
    local.drop_record("r")
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(local.keep_record("r", {"token": str(n), "who": "ä"})))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8
    assert all(answer == local.record("r") for answer in answers)
    folder = tmp_path / "state" / process_records.FOLDER
    assert [path.name for path in folder.iterdir()] == ["r.json"]
    assert (folder / "r.json").stat().st_mode & 0o777 == 0o600
    local.drop_record("r")
    assert local.record("r") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, json.dumps([1]).encode()])
def test_a_damaged_record_is_one_that_says_nothing(local: ProcessRuntime, tmp_path: Path, content: bytes) -> None:
    local.keep_record("r", {"token": "1"})
    (tmp_path / "state" / process_records.FOLDER / "r.json").write_bytes(content)
    assert local.record("r") == {}
    assert local.keep_record("r", {"token": "2"}) == {}


def test_a_folder_that_cannot_be_written_is_said_so(local: ProcessRuntime, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    with pytest.raises((OperationFailed, RuntimeUnreachable), match="state"):
        local.keep_record("r", {"token": "1"})
    with pytest.raises(OperationFailed, match="can be named"):
        local.keep_record("../../r", {"token": "1"})


def test_what_a_killed_writer_left_is_swept(local: ProcessRuntime, tmp_path: Path) -> None:
    folder = tmp_path / "state" / process_records.FOLDER
    folder.mkdir(parents=True)
    for name, age in ((".new-old", 3600), (".new-now", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    local.keep_record("r", {"token": "1"})
    assert sorted(path.name for path in folder.iterdir()) == [".new-now", "r.json"]
