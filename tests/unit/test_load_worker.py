"""A load test's process, as who begins it finds it: what it tells, how it ends, and what is left of one that dies."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from engine.deployment import Lifecycle
from engine.errors import NotFound, OperationFailed, Refused
from engine.facade import Engine
from engine.load import codec, runs
from engine.load.order import Order
from engine.load.plan_check import InvalidLoad
from engine.load.runs import LoadRuns
from engine.load.store import LoadStore
from engine.load_plan import Arrival, Lengths, Level, LoadPlan, Workload
from engine.load_result import STOPPED_BY_HAND, Doubt, LoadEvent, LoadOutcome, LoadProgress, LoadResult
from engine.settings import Settings
from tests.unit.load_bench import LoadServer

COMMAND = (sys.executable, "-P", "-m", "engine.load.worker")
SHORT = Workload(prompt=Lengths(20), output=Lengths(4))
LONG = Workload(prompt=Lengths(20), output=Lengths(10_000))
CLOSED = Level(Arrival.CLOSED, 2)
BRIEF = LoadPlan((CLOSED,), requests=6, workload=SHORT, warmup=0)
ENDLESS = LoadPlan((CLOSED,), workload=LONG, warmup=0)


@pytest.fixture
def server() -> Iterator[LoadServer]:
    with LoadServer(gap_s=0.05).running() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "loads.sqlite"


@pytest.fixture
def load(store: Path) -> Iterator[LoadRuns]:
    made = LoadRuns(store)
    yield made
    made.close()


class Heard:
    """What a listener was told."""

    def __init__(self) -> None:
        self.events: list[LoadEvent] = []
        self.ended = threading.Event()

    def __call__(self, event: LoadEvent) -> None:
        self.events.append(event)
        if isinstance(event, LoadResult):
            self.ended.set()

    def result(self, limit_s: float = 30) -> LoadResult:
        assert self.ended.wait(limit_s)
        *progress, last = self.events
        assert isinstance(last, LoadResult)
        assert all(isinstance(event, LoadProgress) for event in progress)
        return last


def until(condition: Callable[[], object], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def process(order: Order) -> Iterator["subprocess.Popen[bytes]"]:
    begun = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert begun.stdin
        begun.stdin.write(f"{order.to_json()}\n".encode())
        begun.stdin.flush()
        yield begun
    finally:
        begun.kill()
        begun.wait()
        for stream in (begun.stdin, begun.stdout, begun.stderr):
            if stream:
                stream.close()


def test_it_tells_json_a_line_with_the_result_last_and_keeps_it(server: LoadServer, store: Path) -> None:
    with process(Order(server.target, BRIEF, store)) as begun:
        assert begun.stdout
        lines = begun.stdout.read().decode().splitlines()
        assert begun.wait(20) == 0
        assert begun.stderr
        assert begun.stderr.read() == b""
    events = [codec.load_event(line) for line in lines]
    result = events[-1]
    assert isinstance(result, LoadResult)
    assert all(isinstance(event, LoadProgress) for event in events[:-1])
    assert len(events) > 1
    assert (result.outcome, result.levels[0].done, result.deployment) == (LoadOutcome.DONE, 6, "tiny")
    assert (result.run, result.what, result.plan) == ("1 0", "a test's", BRIEF)
    assert result.machine.endswith("cores")
    assert result.id
    kept = LoadStore(store)
    assert kept.results("tiny") == (result,)
    assert [len(level) for level in kept.records(result)] == [6]
    assert server.most_at_once == 2


def test_it_ends_when_who_began_it_is_gone(server: LoadServer, store: Path) -> None:
    plan = replace(BRIEF, requests=None, duration_s=3600.0)
    with process(Order(server.target, plan, store)) as begun:
        until(lambda: len(server.asked) > 6)
        assert begun.stdin
        assert begun.stdout
        begun.stdout.close()
        begun.stdin.close()
        assert begun.wait(20) == 0
    until(lambda: server.at_once == 0)
    (result,) = LoadStore(store).results()
    assert (result.outcome, result.levels[0].doubts[-1]) == (LoadOutcome.STOPPED, Doubt.STOPPED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_what_was_measured(server: LoadServer, store: Path, number: signal.Signals) -> None:
    plan = replace(BRIEF, requests=None, duration_s=3600.0)
    with process(Order(server.target, plan, store)) as begun:
        until(lambda: len(server.asked) > 6)
        begun.send_signal(number)
        assert begun.stdout
        result = codec.load_event(begun.stdout.read().decode().splitlines()[-1])
        assert begun.wait(20) == 0
    assert isinstance(result, LoadResult)
    assert result.outcome is LoadOutcome.STOPPED
    assert result.levels[0].done >= 5
    assert Doubt.STOPPED in result.levels[0].doubts


def test_a_reader_that_never_reads_does_not_slow_it(server: LoadServer, store: Path) -> None:
    """A console that is suspended."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 512)
    os.set_blocking(writing, True)
    begun = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=writing)
    try:
        assert begun.stdin
        begun.stdin.write(f"{Order(server.target, BRIEF, store).to_json()}\n".encode())
        begun.stdin.flush()
        until(lambda: LoadStore(store).results())
        assert begun.wait(20) == 0
    finally:
        begun.kill()
        begun.communicate()
        os.close(reading)
        os.close(writing)


def test_a_key_crosses_as_a_reference_only(server: LoadServer, store: Path) -> None:
    service = replace(server.service, api_key="env:SECRET_OF_A_TEST")
    text = Order(replace(server.target, service=service), BRIEF, store).to_json()
    assert "env:SECRET_OF_A_TEST" in text
    assert Order.from_json(text).target.service == service


@pytest.mark.parametrize("text", [b"", b"\n", b"{}\n", b'{"service": 1}\n'])
def test_an_order_that_is_none_is_said(text: bytes) -> None:
    done = subprocess.run(COMMAND, input=text, capture_output=True, timeout=20)
    assert done.returncode == 1
    assert not done.stdout
    assert b"Error" in done.stderr.splitlines()[-1]


def test_from_its_beginning_to_its_result(server: LoadServer, load: LoadRuns) -> None:
    heard = Heard()
    load.begin(server.deployment, BRIEF, heard)
    result = heard.result()
    assert (result.outcome, result.levels[0].tokens_out, result.run) == (LoadOutcome.DONE, 24, "1 1.000")
    assert len(heard.events) > 1
    assert load.store.results() == (result,)


def test_only_one_at_a_time(server: LoadServer, load: LoadRuns) -> None:
    heard = Heard()
    cancel = load.begin(server.deployment, ENDLESS, heard)
    with pytest.raises(Refused, match=r"A load test of tiny is under way\. Stop it"):
        load.begin(server.deployment, BRIEF, Heard())
    until(lambda: server.at_once == 2)
    cancel()
    cancel()
    stopped = heard.result()
    assert (stopped.outcome, stopped.message, stopped.id) == (LoadOutcome.STOPPED, STOPPED_BY_HAND, "")
    assert load.store.results() == (), "nothing was answered: there is nothing to keep"
    until(lambda: server.at_once == 0)
    after = Heard()
    load.begin(server.deployment, BRIEF, after)
    assert after.result().outcome is LoadOutcome.DONE
    cancel()  # of the one before: this one is not its


@pytest.mark.parametrize("after_s", [0.0, 2.0])
def test_it_gives_way_to_an_operation_and_the_result_says_to_which(
    server: LoadServer, load: LoadRuns, after_s: float
) -> None:
    heard, begun = Heard(), time.monotonic()
    load.begin(
        server.deployment,
        ENDLESS,
        heard,
        lambda: "“stop tiny” has begun." if time.monotonic() > begun + after_s else "",
    )
    result = heard.result()
    assert (result.outcome, result.message) == (
        LoadOutcome.STOPPED,
        "“stop tiny” has begun. It was stopped before its end.",
    )
    assert load.store.results() == (result,)
    until(lambda: server.at_once == 0)


def test_a_cancel_before_it_has_begun_is_a_stop(server: LoadServer, load: LoadRuns) -> None:
    heard = Heard()
    load.begin(server.deployment, ENDLESS, heard)()
    assert (heard.result().outcome, server.at_once) == (LoadOutcome.STOPPED, 0)


def test_what_a_process_that_is_killed_had_measured_is_known(server: LoadServer, load: LoadRuns) -> None:
    heard = Heard()
    plan = replace(BRIEF, levels=(CLOSED, Level(Arrival.CONSTANT, 0.001)))
    load.begin(server.deployment, plan, heard)
    until(lambda: any(isinstance(event, LoadProgress) and event.finished for event in heard.events))
    _worker().kill()
    result = heard.result()
    assert (result.outcome, [level.done for level in result.levels]) == (LoadOutcome.FAILED, [6])
    assert result.message == "The load test's process was killed by signal 9 and left no result."
    assert load.store.results() == (result,)


def test_closing_ends_it(server: LoadServer, load: LoadRuns) -> None:
    heard = Heard()
    load.begin(server.deployment, ENDLESS, heard)
    until(lambda: server.at_once == 2)
    began = time.monotonic()
    load.close()
    assert time.monotonic() - began < 5
    assert heard.result().outcome is LoadOutcome.STOPPED


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("print('hello'); import time; time.sleep(100)", "told something that is not understood"),
        ("import os, time; os.write(1, b'\\xff\\n'); time.sleep(100)", "told something that is not understood"),
        (
            "import sys; print('Traceback\\nKeyError: oh', file=sys.stderr); sys.exit(3)",
            "exit code 3 and left no result. It said: KeyError: oh",
        ),
        ("print('{\"id\": ', end='')", "ended with exit code 0 and left no result"),
        ("import time; time.sleep(100)", "has told nothing for 1 s"),
        ("import os; os.write(1, b'x' * (40 << 20))", "told something that is not understood"),
    ],
)
def test_whatever_its_process_does_there_is_a_result(
    server: LoadServer, load: LoadRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, sentence: str
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(runs, "SILENCE_S", 0.5)
    heard = Heard()
    load.begin(server.deployment, replace(BRIEF, idle_timeout_s=0.5), heard)
    result = heard.result()
    assert result.outcome is LoadOutcome.FAILED
    assert sentence in result.message
    assert load.store.results()[0].id == result.id


def test_one_that_does_not_end_when_it_is_to_is_ended(
    server: LoadServer, load: LoadRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\nimport signal, time\n"
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen({str(tmp_path / 'on')!r}, 'w')\ntime.sleep(100)\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(runs, "STOP_S", 0.5)
    heard = Heard()
    cancel = load.begin(server.deployment, BRIEF, heard)
    until((tmp_path / "on").exists)
    cancel()
    assert heard.result().outcome is LoadOutcome.STOPPED


def test_no_process_can_be_started(server: LoadServer, load: LoadRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OperationFailed, match="No process could be started for the load test"):
        load.begin(server.deployment, BRIEF, Heard())
    monkeypatch.undo()
    heard = Heard()
    load.begin(server.deployment, BRIEF, heard)
    assert heard.result().outcome is LoadOutcome.DONE


class FakeRuntime:
    """Knows one deployment."""

    name = "process"

    def __init__(self, server: LoadServer, lifecycle: Lifecycle = Lifecycle.RUNNING) -> None:
        self._deployment = replace(server.deployment, lifecycle=lifecycle)

    def deployments(self) -> list[object]:
        return [self._deployment]


def engine(tmp_path: Path, runtime: FakeRuntime, **options: object) -> Engine:
    settings = replace(Settings.load(), state_dir=tmp_path, **options)  # type: ignore[arg-type]
    return Engine(settings, {"process": runtime})  # type: ignore[dict-item]


def test_the_engine_blocks_until_the_result_and_keeps_it(server: LoadServer, tmp_path: Path) -> None:
    made = engine(tmp_path, FakeRuntime(server))
    events: list[LoadEvent] = []
    result = made.load_blocking("tiny", BRIEF, events.append)
    assert (result.outcome, events[-1]) == (LoadOutcome.DONE, result)
    assert made.loads() == made.loads("tiny") == (result,)
    assert made.loads("other") == ()
    made.export_load(result, tmp_path / "out.csv")
    assert len((tmp_path / "out.csv").read_text().splitlines()) >= 7


@pytest.mark.parametrize("locked", [True, False])
def test_what_cannot_be_kept_is_written_with_its_requests(server: LoadServer, tmp_path: Path, locked: bool) -> None:
    path = tmp_path / "loads.sqlite"
    with contextlib.closing(sqlite3.connect(path if locked else ":memory:", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        if not locked:
            path.mkdir()
        made = engine(tmp_path, FakeRuntime(server))
        result = made.load_blocking("tiny", BRIEF, lambda _: None)
        assert (result.id, result.outcome, result.levels[0].done) == ("", LoadOutcome.DONE, 6)
        assert result.message.startswith(f"The history of load tests {path} cannot be written: ")
        assert made.export_load(result, tmp_path / "out.csv") == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 7


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell that began the tests in the background has had the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_stops_it(server: LoadServer, tmp_path: Path) -> None:
    def interrupt(event: LoadEvent) -> None:
        if isinstance(event, LoadProgress) and event.in_flight == 2:
            os.kill(os.getpid(), signal.SIGINT)

    result = engine(tmp_path, FakeRuntime(server)).load_blocking("tiny", ENDLESS, interrupt)
    assert result.outcome is LoadOutcome.STOPPED


def test_what_cannot_be_put_under_load_is_refused(server: LoadServer, tmp_path: Path) -> None:
    take = Heard()
    with pytest.raises(Refused, match="read-only"):
        engine(tmp_path, FakeRuntime(server), read_only="--read-only").load_blocking("tiny", BRIEF, take)
    with pytest.raises(OperationFailed, match="tiny does not run"):
        engine(tmp_path, FakeRuntime(server, Lifecycle.EXITED)).load_blocking("tiny", BRIEF, take)
    with pytest.raises(NotFound):
        engine(tmp_path, FakeRuntime(server)).load_blocking("other", BRIEF, take)
    with pytest.raises(NotFound):
        engine(tmp_path, FakeRuntime(server)).load("tiny", BRIEF, take)
    with pytest.raises(InvalidLoad):
        engine(tmp_path, FakeRuntime(server)).load_blocking("tiny", replace(BRIEF, levels=()), take)
    assert not take.events


def _worker() -> psutil.Process:
    """This process's own."""
    (found,) = (child for child in psutil.Process().children() if "engine.load.worker" in " ".join(child.cmdline()))
    return found
