"""The process of one operation, as whoever begins it finds it on its pipes."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import Exit
from engine.operating import Parts
from engine.operation_json import from_json, to_json
from engine.request import Action, Request
from engine.settings import Settings
from engine.snapshot import OperationStatus, Outcome
from engine.teller import Teller
from tests.unit.operations_bench import until

COMMAND = (sys.executable, "-P", "-m", "engine.worker")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    return Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)


def order(settings: Settings, action: Action = Action.START, name: str = "nobody") -> bytes:
    words = {"operation": "1", "request": Request(action, name).to_json(), "settings": settings.to_json()}
    return f"{json.dumps(words)}\n".encode()


def outcome(settings: Settings) -> OperationStatus | None:
    entry = Parts(settings).journal.entry("1")
    return entry.status if entry and entry.status.outcome is not Outcome.RUNNING else None


def test_its_last_line_is_its_outcome_and_its_exit_code_too(settings: Settings) -> None:
    done = subprocess.run(COMMAND, input=order(settings), capture_output=True, timeout=20)
    last = from_json(done.stdout.decode().splitlines()[-1])
    assert last == outcome(settings)
    assert (last.id, last.outcome, last.exit_code) == ("1", Outcome.FAILED, Exit.INVALID)
    assert done.returncode == Exit.INVALID
    assert not done.stderr


def test_it_refuses_by_itself_where_nothing_may_be_changed(settings: Settings) -> None:
    done = subprocess.run(
        COMMAND, input=order(replace(settings, read_only="--read-only")), capture_output=True, timeout=20
    )
    last = from_json(done.stdout.decode().splitlines()[-1])
    assert done.returncode == last.exit_code == Exit.REFUSED
    assert last.message.startswith("Nothing may be changed from here: tritontui is read-only (--read-only).")
    assert not (settings.state_dir / "records").exists(), "it took no lease"


def test_a_reader_that_never_reads_does_not_hold_it(settings: Settings) -> None:
    """A console that is suspended, its pipe full."""
    reading, writing = os.pipe()
    flags = fcntl.fcntl(writing, fcntl.F_GETFL)
    fcntl.fcntl(writing, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        while True:
            os.write(writing, b"x" * 512)
    except BlockingIOError:
        fcntl.fcntl(writing, fcntl.F_SETFL, flags)
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=writing)
    try:
        assert process.stdin
        with process.stdin as stdin:
            stdin.write(order(settings))
        until(lambda: outcome(settings) is not None)
    finally:
        os.close(writing)
        os.close(reading)  # else it waits for its reader, for a while
    assert process.wait(20) == Exit.INVALID


def test_a_reader_that_is_gone_does_not_end_it(settings: Settings) -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=writing)
    os.close(reading)
    os.close(writing)
    process.communicate(order(settings), timeout=20)
    assert process.returncode == Exit.INVALID
    assert outcome(settings)


@pytest.mark.parametrize("text", [b"", b"\n", b"{}\n", b'{"operation": "1", "request": "{}", "settings": "{}"}\n'])
def test_an_order_that_is_none_changes_nothing_and_says_so(settings: Settings, text: bytes) -> None:
    done = subprocess.run(COMMAND, input=text, capture_output=True, timeout=20)
    assert done.returncode == 1
    assert not done.stdout
    assert b"Error" in done.stderr.splitlines()[-1]
    assert not settings.state_dir.exists()


def test_what_a_library_prints_stands_between_no_statuses(settings: Settings, tmp_path: Path) -> None:
    """Such as the driver's, which writes to the descriptor itself."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, threading\n"
        "def chatter():\n"
        "    while True:\n"
        "        os.write(1, b'chatter ')\n"
        "def begin(*_):\n"
        "    threading.Thread(target=chatter, daemon=True).start()\n"
        "import engine.operating\n"
        "parts = engine.operating.Parts.__init__\n"
        "engine.operating.Parts.__init__ = lambda *given: (begin(), parts(*given))[1]\n"
    )
    done = subprocess.run(
        COMMAND, input=order(settings), capture_output=True, timeout=20, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )
    assert b"chatter" in done.stderr, "else this shows nothing"
    assert b"chatter" not in done.stdout
    assert from_json(done.stdout.decode().splitlines()[-1]).outcome is Outcome.FAILED


def test_only_a_request_to_end_ends_it_and_by_rolling_back(settings: Settings) -> None:
    """Not what a terminal sends to all who were begun from it."""
    process = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        # It ignores them from the moment when it waits for its order.
        until(lambda: _ignores(process.pid, signal.SIGHUP))
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        out, _ = process.communicate(order(settings), timeout=20)
    finally:
        process.kill()
    last = from_json(out.decode().splitlines()[-1])
    assert (last.outcome, last.cancelled, process.returncode) == (Outcome.ROLLED_BACK, True, Exit.FAILED)
    assert last.message == "It was cancelled. Nothing was changed."


def _ignores(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(mask >> (number - 1) & 1)


# -- telling ----------------------------------------------------------------------------------------------------------


@contextmanager
def pipe(last_words_s: float = 10.0) -> Iterator[tuple[int, Teller[OperationStatus]]]:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as out:
        yield reading, Teller(out, to_json, last_words_s)
    os.close(reading)


def status(message: str) -> OperationStatus:
    return OperationStatus("1", "start", "m", (), time.time(), Outcome.RUNNING, "me", message=message)


def test_the_last_status_is_always_told_and_those_before_may_be_passed_over() -> None:
    with pipe() as (reading, teller):
        for number in range(200):
            teller.tell(status(str(number)))
        teller.close()
        lines = os.read(reading, 1 << 20).decode().splitlines()
    told = [int(from_json(line).message) for line in lines]
    assert told == sorted(told)
    assert told[-1] == 199


def test_closing_waits_only_so_long_for_who_does_not_read() -> None:
    with pipe(0.1) as (reading, teller):
        teller.tell(status("x" * (1 << 20)))
        began = time.monotonic()
        teller.close()
        assert 0.1 <= time.monotonic() - began < 5
        drained = _drain(reading)
        drained()


def _drain(reading: int) -> Callable[[], None]:
    """Lets the teller's thread end."""
    thread = threading.Thread(target=lambda: [os.read(reading, 1 << 16) for _ in range(16)], daemon=True)
    thread.start()
    return lambda: thread.join(10)
