"""The audit: lines that nothing tears, read from the end, whatever else stands in the file."""

import fcntl
import json
import multiprocessing
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from engine import audit as audit_module
from engine.audit import LONGEST_LINE, LONGEST_TEXT, Audit
from engine.errors import OperationFailed
from engine.snapshot import AuditEntry

ENTRY = AuditEntry(
    at=1_000_000.0,
    user="ann",
    host="box",
    address="10.0.0.7",
    via="command",
    operation="0f",
    event="began",
    what="swap mixtral → llama3-70b",
    plan_digest="abc",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


def whats(audit: Audit, limit: int = 100, *, name: str | None = None, since: float | None = None) -> list[str]:
    return [entry.what for entry in audit.read(limit, name=name, since=since)]


def test_what_was_done_is_read_again_newest_first(path: Path) -> None:
    audit = Audit(path)
    assert audit.read(10) == ()
    assert not path.parent.exists(), "to look is to make nothing"
    done = replace(ENTRY, at=1_000_060.5, event="done", seconds=60.5, message="It answers.")
    audit.append(ENTRY)
    audit.append(done)
    assert audit.read(10) == (done, ENTRY)
    assert audit.read(1) == (done,)
    assert not audit.problem
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    first = json.loads(path.read_text().splitlines()[0])
    assert first["what"] == "swap mixtral → llama3-70b"
    assert first["seconds"] is None


def test_a_line_is_a_line_and_holds_no_secret(path: Path) -> None:
    audit = Audit(path)
    audit.append(replace(ENTRY, message="a\nb\x1b[2J\u2028c \ud800 hf_abcdefghijklmnopqrstuvwx " + "x" * 9000))
    text = path.read_text()
    assert text.count("\n") == 1
    assert "hf_***" in text
    assert "hf_abc" not in text
    assert "\x1b" not in text
    (entry,) = audit.read(10)
    assert entry.message.startswith("a bc")
    assert len(entry.message) == LONGEST_TEXT


def _append(path: Path, number: int) -> None:
    audit = Audit(path)
    for one in range(50):
        audit.append(replace(ENTRY, operation=f"{number}-{one}", message="x" * 3000))


def test_several_processes_append_at_once_and_no_line_is_torn_or_lost(path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(_append, [(path, number) for number in range(4)])
    audit = Audit(path)
    found = [entry.operation for entry in audit.read(1000)]
    assert sorted(found) == sorted(f"{number}-{one}" for number in range(4) for one in range(50))
    assert not audit.problem
    for number in range(4):
        assert [one for one in found if one.startswith(f"{number}-")] == [f"{number}-{49 - one}" for one in range(50)]


def test_a_line_that_a_crash_tore_spoils_no_other(path: Path) -> None:
    audit = Audit(path)
    audit.append(ENTRY)
    with path.open("ab") as file:
        file.write('{"at":1000001.0,"user":"→'.encode()[:-1])
    assert audit.read(10) == (ENTRY,)
    assert audit.problem == f"A line of the audit {path} cannot be read and is left out."
    after = replace(ENTRY, event="done")
    audit.append(after)
    assert audit.read(10) == (after, ENTRY)
    assert len(path.read_bytes().splitlines()) == 3


def _append_with_little_room(path: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20,) * 2)
    audit = Audit(path)
    for _ in range(2):  # written in part, and then not at all
        with pytest.raises(OperationFailed, match=f"The audit {path} cannot be written: .* Correct its"):
            audit.append(ENTRY)
        assert audit.problem


def test_a_full_disk_is_told_and_what_was_written_of_a_line_spoils_no_other(path: Path) -> None:
    audit = Audit(path)
    audit.append(ENTRY)
    before = path.stat().st_size
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(_append_with_little_room, (path,))
    assert path.stat().st_size == before + 20, "a part of it was written"
    audit.append(ENTRY)
    assert audit.read(10) == (ENTRY, ENTRY)
    assert audit.problem


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"\0" * 5000,
        b"[" * 100_000,
        b"x" * (LONGEST_LINE * 2),
        b'{"at":NaN,"event":"done"}',
        b'{"at":1' + b"0" * 400 + b',"event":"done"}',
        b'{"at":-1,"event":"done"}',
        b'{"at":true,"event":"done"}',
        b'{"at":"1","event":"done"}',
        b'{"at":1,"event":7}',
        b'{"at":1,"event":"done","what":null}',
        b'{"at":1,"event":"done","seconds":"long"}',
    ],
    ids=lambda line: str(line[:12]),
)
def test_what_is_no_entry_is_left_out_and_counted(path: Path, line: bytes) -> None:
    audit = Audit(path)
    audit.append(ENTRY)
    with path.open("ab") as file:
        file.write(line + b"\n\n" + line + b"\n")
    audit.append(replace(ENTRY, event="done"))
    assert [entry.event for entry in audit.read(10)] == ["done", "began"]
    assert audit.problem == f"2 lines of the audit {path} cannot be read and are left out."


def test_what_others_wrote_is_cleaned_and_may_have_more_or_fewer_keys(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"at": 7, "event": "done", "what": "start \\u001b]0;x\\u0007m\\nn", "mood": "good"}\n')
    (entry,) = Audit(path).read(10)
    assert entry == AuditEntry(7.0, "", "", "", "", "", "done", "start m n")


def test_a_deployment_is_found_by_its_whole_name(path: Path) -> None:
    audit = Audit(path)
    for what in ("start llama", "swap qwen, llama → mixtral", "stop llama-2", "stop qwen", "swap a → llama"):
        audit.append(replace(ENTRY, what=what, message="of llama"))
    assert whats(audit, name="llama") == ["swap a → llama", "swap qwen, llama → mixtral", "start llama"]
    assert whats(audit, 1, name="llama") == ["swap a → llama"]
    assert whats(audit, name="start") == []
    assert whats(audit, name="\udcff") == []


def test_only_what_is_new_enough_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = Audit(path)
    # The clock was set back by a minute between the second and the third.
    for at in (1_000_000.0, 1_010_000.0, 1_009_940.0, 1_009_950.0, 1_020_000.0):
        audit.append(replace(ENTRY, at=at, what=f"start {at:.0f}"))
    assert whats(audit, since=1_009_960.0) == ["start 1020000", "start 1010000"]
    parsed: list[bytes] = []

    def counted(line: bytes) -> AuditEntry:
        parsed.append(line)
        return ENTRY

    monkeypatch.setattr(audit_module, "_parsed", counted)
    assert audit.read(10, since=2_000_000.0) == ()
    assert len(parsed) == 1, "all before it is older still"


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1000])
def test_lines_are_the_same_wherever_the_blocks_are_cut(
    path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    audit = Audit(path)
    entries = [replace(ENTRY, what=f"start m{number}", message="→" * number) for number in range(8)]
    for entry in entries:
        audit.append(entry)
    monkeypatch.setattr(audit_module, "BLOCK", block)
    assert audit.read(100) == tuple(reversed(entries))
    assert not audit.problem


def test_of_a_large_file_only_the_end_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = Audit(path)
    audit.append(ENTRY)
    line = path.read_bytes()
    path.write_bytes(line * (8 * audit_module.BLOCK // len(line)))
    lengths: list[int] = []
    pread = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        lengths.append(length)
        return pread(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    assert len(audit.read(100)) == 100
    assert sum(lengths) <= audit_module.BLOCK


def test_a_shared_file_keeps_its_mode(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    path.chmod(0o660)
    Audit(path).append(ENTRY)
    assert path.stat().st_mode & 0o777 == 0o660


def test_who_holds_the_lock_for_ever_holds_up_nobody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = Audit(path)
    audit.append(ENTRY)
    monkeypatch.setattr(audit_module, "LOCK_S", 0.05)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        audit.append(ENTRY)
        assert audit.read(10) == (ENTRY, ENTRY)


@pytest.mark.parametrize("place", ["folder", "pipe", "under a file", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, place: str) -> None:
    path = tmp_path / "audit.jsonl"
    if place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    elif place == "under a file":
        path.touch()
        path /= "audit.jsonl"
    else:
        path = Path("/dev/full")
    audit = Audit(path)
    with pytest.raises(OperationFailed, match=r"cannot be written: .+\. Correct its owner") as caught:
        audit.append(ENTRY)
    assert str(path) in str(caught.value)
    assert audit.problem
    with pytest.raises(OperationFailed, match="cannot be read"):
        audit.read(10)
