"""Operations in processes of their own: real ones, on the process runtime, where no container engine answers."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from engine import database
from engine import launcher as launching
from engine.errors import Exit, NotFound, OperationFailed, Refused
from engine.launcher import Launcher
from engine.operating import Parts
from engine.request import Action, Request
from engine.settings import Settings
from engine.snapshot import OperationStatus, Outcome, Step, StepKind
from engine.store import Entry, Journal
from tests.real.triton_support import free_ports
from tests.unit.operations_bench import until

SERVER = """\
#!{python}
import http.server, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists({ready!r}) else 400)
        self.end_headers()

    def log_message(self, *_):
        pass

port = next(int(word.split("=")[1]) for word in sys.argv if word.startswith("--http-port="))
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
PROFILE = """\
name: m
stack: triton
runtime: process
program: {program}
repository: .
expose: {{http: {port}}}
"""
BEGIN = """
import sys, time
from engine.launcher import Launcher
from engine.request import Action, Request
from engine.settings import Settings
from engine.store import Journal
settings = Settings.from_json(sys.argv[1])
launcher = Launcher(settings, Journal(settings.state_dir / "history.sqlite"))
print(launcher.begin(Request(Action.START, "m"), lambda _: None), flush=True)
time.sleep(60)
"""


@dataclass
class Place:
    """Folders of one user, with a profile of a server that is ready when the test says so."""

    settings: Settings
    ready: Path
    told: list[OperationStatus] = field(default_factory=list)

    @property
    def journal(self) -> Journal:
        return Parts(self.settings).journal

    @property
    def launcher(self) -> Launcher:
        return Launcher(self.settings, self.journal)

    def begin(self, action: Action, name: str = "m") -> str:
        return self.launcher.begin(Request(action, name), self.told.append)

    def status(self, operation: str) -> OperationStatus | None:
        entry = self.journal.entry(operation)
        return entry.status if entry else None

    def is_at(self, operation: str, step: str) -> Callable[[], bool]:
        def there() -> bool:
            status = self.status(operation)
            assert status is None or status.outcome is Outcome.RUNNING, status.message
            return status is not None and status.current is not None and status.current.kind == step

        return there

    def ended(self) -> OperationStatus:
        until(lambda: bool(self.told) and self.told[-1].outcome is not Outcome.RUNNING)
        return self.told[-1]

    def deployments(self) -> tuple[str, ...]:
        return tuple(one.name for one in Parts(self.settings).runtimes["process"].deployments())

    def leases(self) -> list[Path]:
        return list(self.settings.state_dir.glob("records/*"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    monkeypatch.setattr(launching, "FOLLOW_EVERY_S", 0.02)
    program = tmp_path / "server"
    program.write_text(SERVER.format(python=sys.executable, ready=str(tmp_path / "ready")))
    program.chmod(0o755)
    (tmp_path / "profiles").mkdir()
    (port,) = free_ports(1)  # what is `auto` may be given to a server of a test that runs beside this one, too
    (tmp_path / "profiles" / "m.yaml").write_text(PROFILE.format(program=program, port=port))
    folders = {kind: tmp_path / kind for kind in ("config", "state", "cache")}
    one = Place(Settings(folders["config"], folders["state"], folders["cache"], (), tmp_path), tmp_path / "ready")
    yield one
    runtime = Parts(one.settings).runtimes["process"]
    for deployment in runtime.deployments():
        runtime.stop(deployment.name, 5)


def test_a_start_is_told_step_by_step_and_ends_in_the_journal_too(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    operation = place.begin(Action.START)
    until(place.is_at(operation, "wait"))
    until(lambda: bool(place.told))
    assert place.told[0].outcome is Outcome.RUNNING
    assert place.told[0].pid not in (0, os.getpid())
    assert os.getsid(place.told[0].pid) == place.told[0].pid, "it is of no terminal"
    place.ready.touch()
    status = place.ended()
    assert (status.outcome, status.exit_code, status.id) == (Outcome.DONE, Exit.DONE, operation)
    assert place.status(operation) == status
    assert place.deployments() == ("m",)
    assert not place.leases()
    assert not list(folder.iterdir())


def test_it_outlives_whoever_began_it(place: Place) -> None:
    """Even one that was killed at the moment when it had begun it."""
    began = subprocess.Popen([sys.executable, "-c", BEGIN, place.settings.to_json()], stdout=subprocess.PIPE, text=True)
    assert began.stdout
    with began.stdout as out:
        operation = out.readline().strip()
    began.kill()
    began.wait(10)
    until(place.is_at(operation, "wait"))
    place.ready.touch()
    status = place.launcher.follow(operation, place.told.append)
    assert status.outcome is Outcome.DONE
    assert place.told[-1] == status
    assert len(place.told) > 1
    assert place.deployments() == ("m",)


def test_a_cancelled_one_rolls_back(place: Place) -> None:
    operation = place.begin(Action.START)
    until(place.is_at(operation, "wait"))
    place.launcher.cancel(operation)
    status = place.ended()
    assert status.outcome is Outcome.ROLLED_BACK
    assert status.message.startswith("It was cancelled. m is removed; its log is kept in ")
    assert not place.deployments()
    assert not place.leases()
    with pytest.raises(NotFound, match="has ended already: rolled back"):
        place.launcher.cancel(operation)


def test_a_killed_one_is_interrupted_and_rolled_back_by_the_next(place: Place) -> None:
    operation = place.begin(Action.START)
    until(place.is_at(operation, "wait"))
    os.kill(place.told[-1].pid, signal.SIGKILL)
    status = place.ended()
    assert (status.outcome, status.exit_code, status.current) == (Outcome.INTERRUPTED, Exit.FAILED, None)
    assert "was killed by signal 9" in status.message
    assert status.message.endswith(" m runs. `tritontui recover` finishes it or rolls it back.")
    found = place.status(operation)
    assert found
    assert found.unsettled
    settled = place.launcher.perform(Request(Action.ROLL_BACK, operation), lambda _: None)
    assert settled.outcome is Outcome.DONE, settled.message
    assert not place.deployments()
    after = place.status(operation)
    assert after
    assert after.settled_by.startswith("rolled back by ")
    assert not place.leases()


BREAKS_OFF = """
import engine.{module} as module
def breaks_off(*_, **__):
    raise ZeroDivisionError("by zero")
module.{what} = breaks_off
"""


@pytest.mark.parametrize(
    ("module", "what", "remains"),
    [
        ("operations.bring_up", "BringUp.check", "Nothing had been changed."),
        ("runtimes.process", "ProcessRuntime.create", "m was not made yet."),
        ("runtimes.process", "ProcessRuntime.start", "m does not run."),
        ("operations.ready", "ReadyWait.run", "m runs."),
    ],
)
def test_one_that_breaks_off_as_nobody_foresaw_tells_what_there_is_now(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, what: str, remains: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BREAKS_OFF.format(module=module, what=what))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    status = place.launcher.perform(Request(Action.START, "m"), place.told.append)
    assert (status.outcome, status.exit_code) == (Outcome.FAILED, Exit.FAILED)
    assert status.message == f"It broke off unexpectedly (ZeroDivisionError: by zero). {remains}"
    assert place.told[-1] == status == place.status(status.id)
    assert not place.leases()


@pytest.mark.parametrize("action", [Action.START, Action.STOP, Action.SWAP, Action.FINISH, Action.ROLL_BACK])
def test_what_there_is_not_is_not_found(place: Place, action: Action) -> None:
    status = place.launcher.perform(Request(action, "nobody"), place.told.append)
    assert status.outcome is Outcome.FAILED
    # What is not seen may be where nobody answers.
    assert status.exit_code == (Exit.UNREACHABLE if action is Action.STOP else Exit.INVALID), status.message
    assert place.told[-1] == status == place.status(status.id)


def test_where_nothing_can_be_recorded_nothing_is_started(place: Place) -> None:
    wrong = replace(place.settings, state_dir=Path("/dev/null/nowhere"))
    launcher = Launcher(wrong, Parts(wrong).journal)
    status = launcher.perform(Request(Action.START, "m"), place.told.append)
    assert (status.outcome, status.exit_code) == (Outcome.FAILED, Exit.UNREACHABLE)
    assert "/dev/null/nowhere" in status.message, status.message
    assert any("cannot be written" in note for note in status.notes), status.notes
    assert place.told[-1] == status


def test_one_that_dies_at_its_order_tells_its_last_words(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "to_json", lambda _: "{}")
    status = place.launcher.perform(Request(Action.START, "m"), place.told.append)
    assert (status.outcome, status.exit_code) == (Outcome.FAILED, Exit.FAILED)
    assert "ended with exit code 1 and left no outcome. It said:" in status.message
    assert "KeyError: 'config_dir'" in status.message
    assert place.told == [status]


def test_a_settling_that_dies_at_its_order_is_told_by_what_it_was_to_settle(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = OperationStatus("0ff1ce", "swap", "m", (), 1.0, Outcome.INTERRUPTED, "me", ended_at=2.0, outgoing=("a",))
    place.journal.write(Entry(swap, Request(Action.SWAP, "m", ("a",)), ""))
    monkeypatch.setattr(Settings, "to_json", lambda _: "{}")
    status = place.launcher.perform(Request(Action.ROLL_BACK, "0ff1ce"), place.told.append)
    assert (status.title, status.outcome) == ("roll back a → m", Outcome.FAILED)
    assert "left no outcome" in status.message


def test_nothing_is_begun_or_cancelled_where_nothing_may_be_changed(place: Place) -> None:
    operation = place.begin(Action.START)
    until(place.is_at(operation, "wait"))
    looking = Launcher(replace(place.settings, read_only="--read-only"), place.journal)
    with pytest.raises(Refused, match="read-only"):
        looking.begin(Request(Action.STOP, "m"), place.told.append)
    with pytest.raises(Refused, match="read-only"):
        looking.cancel(operation)
    place.ready.touch()
    assert looking.follow(operation, lambda _: None).outcome is Outcome.DONE


def test_what_the_journal_does_not_have_is_followed_and_cancelled_by_nobody(place: Place) -> None:
    with pytest.raises(NotFound, match="has no operation nowhere"):
        place.launcher.follow("nowhere", place.told.append)
    with pytest.raises(NotFound, match="No operation nowhere of this user is under way"):
        place.launcher.cancel("nowhere")


class LockedJournal(Journal):
    """Another program holds the file from the first look on, for as many `looks` as the test says."""

    def __init__(self, path: Path, looks: float) -> None:
        super().__init__(path)
        self._looks = looks
        self._holder = sqlite3.connect(path, isolation_level=None)

    def entry(self, operation: str) -> Entry | None:
        if self._looks > 0 and not self._holder.in_transaction:
            self._holder.execute("BEGIN EXCLUSIVE")
        found = super().entry(operation)
        self._looks -= 1
        if self._looks <= 0 and self._holder.in_transaction:
            self._holder.rollback()
        return found

    def close(self) -> None:
        self._holder.close()


def test_a_journal_that_is_held_for_a_moment_is_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    status = OperationStatus("1", "start", "m", (), 1.0, Outcome.DONE, "me", ended_at=2.0, exit_code=0)
    place.journal.write(Entry(status, Request(Action.START, "m"), ""))
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    with closing(LockedJournal(place.settings.history_path, looks=3)) as journal:
        assert Launcher(place.settings, journal).follow("1", place.told.append) == status
    monkeypatch.setattr(launching, "READ_S", 0.2)
    with closing(LockedJournal(place.settings.history_path, looks=math.inf)) as journal:
        for ask in (
            lambda: Launcher(place.settings, journal).follow("1", place.told.append),
            lambda: Launcher(place.settings, journal).cancel("1"),
        ):
            with pytest.raises(OperationFailed, match=r"database is locked\. The operation itself goes on\."):
                ask()


def test_what_rolls_back_already_is_not_cancelled_again(place: Place) -> None:
    step = Step(StepKind.START, "start", Outcome.RUNNING, subject="m", undo=True)
    status = OperationStatus("1", "start", "m", (step,), time.time(), Outcome.RUNNING, "me", pid=os.getpid())
    place.journal.write(Entry(status, Request(Action.START, "m"), ""))
    with pytest.raises(Refused, match="is being rolled back already"):
        place.launcher.cancel("1")
