"""Files that get their name only when they are whole."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.whole_file import UNFINISHED, written_beside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "a.yaml"


def test_it_is_whole_and_for_its_owner_alone_before_it_has_its_name(path: Path) -> None:
    path.write_text("old")
    before = os.umask(0)
    try:
        with written_beside(path, "é\n\r\n") as new:
            assert new.parent == path.parent
            assert new.read_bytes() == "é\n\r\n".encode()
            assert path.read_text() == "old"
            new.replace(path)
    finally:
        os.umask(before)
    assert path.read_bytes() == "é\n\r\n".encode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("there", ["a file", "a link", "a link to nothing"])
def test_what_stands_there_is_refused_or_replaced_and_no_link_is_followed(path: Path, there: str) -> None:
    other = path.with_name("other")
    if there != "a link to nothing":
        other.write_text("kept")
    if there == "a file":
        path.write_text("old")
    else:
        path.symlink_to(other)
    before = sorted(path.parent.iterdir())
    with pytest.raises(FileExistsError), written_beside(path, "new") as new:
        path.hardlink_to(new)
    assert sorted(path.parent.iterdir()) == before
    with written_beside(path, "new") as new:
        new.replace(path)
    assert not path.is_symlink()
    assert path.read_text() == "new"
    assert sorted(path.parent.iterdir()) == before
    assert not other.exists() or other.read_text() == "kept"


def test_of_several_who_write_it_at_once_the_name_decides(path: Path) -> None:
    with written_beside(path, "first") as first, written_beside(path, "second") as second:
        path.hardlink_to(first)
        with pytest.raises(FileExistsError):
            path.hardlink_to(second)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_whole_leaves_nothing(path: Path) -> None:
    path.write_text("old")
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, whole[1]))  # as a disk that is nearly full
    try:
        with pytest.raises(OSError, match="File too large"), written_beside(path, "x" * 1001) as new:
            new.replace(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
    with pytest.raises(KeyboardInterrupt), written_beside(path, "new"):
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(NotADirectoryError), written_beside(path / "below", "new"):
        pass


def test_a_kill_before_it_has_its_name_leaves_the_old_one_whole(path: Path) -> None:
    path.write_text("old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from engine.whole_file import written_beside\n"
        "with written_beside(pathlib.Path(sys.argv[1]), 'new'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, path], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    (left,) = set(path.parent.iterdir()) - {path}
    assert left.name.startswith(UNFINISHED)
