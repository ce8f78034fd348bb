import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, NotFound, OperationFailed, RuntimeUnreachable
from engine.freshness import Freshness
from engine.log_line import LogMark, MarkKind
from engine.observe import logs
from engine.observe.logs import ENDED, NO_LOG, LogReader
from tests.unit.test_log_lines import START, raw, stamp

if TYPE_CHECKING:
    from engine.runtimes.base import Runtime

BROKEN = RuntimeUnreachable("Docker does not answer.", "Start it.")


class ScriptedSource:
    secrets: tuple[str, ...] = ()

    def __init__(self, history: list[bytes]) -> None:
        self.queue: queue.Queue[bytes | EngineError | None] = queue.Queue()
        for block in history:
            self.queue.put(block)

    def __iter__(self) -> Iterator[bytes]:
        while (block := self.queue.get(timeout=30)) is not None:
            if isinstance(block, EngineError):
                raise block
            yield block

    def close(self) -> None:
        self.queue.put(None)


class ScriptedRuntime:
    """One log that grows, whose stream breaks, ends and comes back as the test says."""

    name = "scripted"

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.log: list[bytes] = []
        self.refusal: EngineError | None = None
        self.opened: list[tuple[int | None, float | None]] = []
        self.source: ScriptedSource | None = None
        self.secrets: tuple[str, ...] = ()

    def logs(self, _name: str, *, tail: int | None, follow: bool, since: float | None = None) -> ScriptedSource:
        assert follow
        self.opened.append((tail, since))
        if self.refusal:
            raise self.refusal
        with self.lock:
            history = [line for line in self.log if since is None or line[:30].decode() >= stamp(since - START)]
            self.source = ScriptedSource(history)
            self.source.secrets = self.secrets
            return self.source

    def write(self, *blocks: bytes) -> None:
        wait_for(lambda: self.source is not None)
        with self.lock:
            self.log += blocks
            for block in blocks:
                self.send(block)

    def send(self, block: bytes | EngineError | None) -> None:
        wait_for(lambda: self.source is not None)
        assert self.source
        self.source.queue.put(block)


def wait_for(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "REOPEN_S", 0.01)
    monkeypatch.setattr(logs, "RETRY_S", (0.01,))


@pytest.fixture
def runtime() -> ScriptedRuntime:
    return ScriptedRuntime()


@pytest.fixture
def open_log(runtime: ScriptedRuntime) -> Iterator[Callable[..., LogReader]]:
    readers: list[LogReader] = []

    def open_it(changed: Callable[[], None] = lambda: None, **options: int) -> LogReader:
        readers.append(LogReader(cast("Runtime", runtime), "model", changed, **options))
        return readers[-1]

    yield open_it
    for reader in readers:
        reader.close()


Opener = Callable[..., LogReader]


def texts(reader: LogReader) -> list[str]:
    return [line.text for line in reader.lines(reader.first, reader.end)]


class TestReader:
    def test_a_secret_the_program_was_given_is_masked(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        runtime.secrets = ("open sesame",)
        reader = open_log()
        runtime.write(raw("the key is open sesame"))
        wait_for(lambda: texts(reader) == ["the key is ***"])

    def test_places_worth_jumping_to_are_marked(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        reader = open_log(max_lines=30)
        runtime.write(raw("Starting", mark="}"), raw("ERROR: bad", 1), raw("ERROR: worse", 1), raw("more", 2))
        wait_for(lambda: len(reader.marks) == 2)
        assert list(reader.marks) == [LogMark(0, MarkKind.RUN), LogMark(1, MarkKind.ERROR)]
        runtime.write(b"".join(raw(f"{number}", 3 + number) for number in range(27)), raw("ERROR: again", 60))
        wait_for(lambda: [mark.seq for mark in reader.marks] == [31])

    def test_where_a_run_begins_is_told_though_only_one_reading_knows(
        self, runtime: ScriptedRuntime, open_log: Opener
    ) -> None:
        reader = open_log()
        runtime.write(raw("Starting", mark="}"), raw("b", mark=">"))
        wait_for(lambda: reader.end == 2)
        runtime.log = [raw("Starting", mark=">"), raw("b", mark=">"), raw("c", 0.01, mark=">")]
        runtime.send(BROKEN)
        wait_for(lambda: texts(reader) == ["Starting", "b", "c"])

    def test_lines_have_numbers_and_times(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        reader = open_log(tail=500)
        assert reader.freshness in {Freshness.LOADING, Freshness.FRESH}
        runtime.write(raw("one"), raw("two", 1))
        wait_for(lambda: reader.end == 2)
        assert [(line.seq, line.time, line.text) for line in reader.lines(0, 2)] == [
            (0, stamp(0), "one"),
            (1, stamp(1), "two"),
        ]
        assert (reader.freshness, reader.message) == (Freshness.FRESH, "")
        assert runtime.opened == [(500, None)]

    def test_a_break_makes_neither_gap_nor_repeat(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        reader = open_log()
        runtime.write(raw("a"), raw("same", 1), raw("same", 1))
        wait_for(lambda: reader.end == 3)
        runtime.log += [raw("same", 1), raw("b", 1), raw("c", 2)]  # written while nobody could read
        runtime.send(BROKEN)
        wait_for(lambda: reader.end == 6)
        runtime.write(raw("d", 3))
        wait_for(lambda: reader.end == 7)
        assert texts(reader) == ["a", "same", "same", "same", "b", "c", "d"]
        assert len(runtime.opened) == 2

    def test_a_break_within_a_line_reads_it_again_whole(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        reader = open_log()
        runtime.log.append(raw("whole line"))
        runtime.send(raw("whole line")[:36])
        wait_for(lambda: reader.end == 1)
        assert reader.line(0).text == "whole"
        runtime.send(BROKEN)
        wait_for(lambda: texts(reader) == ["whole line"])

    def test_it_says_that_it_is_stale_and_why(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        reader = open_log()
        runtime.write(raw("one"))
        wait_for(lambda: reader.end == 1)
        runtime.refusal = BROKEN
        runtime.send(BROKEN)
        wait_for(lambda: reader.freshness is Freshness.STALE)
        assert reader.message == "Docker does not answer. Start it."
        assert texts(reader) == ["one"]
        runtime.refusal = None
        wait_for(lambda: reader.freshness is Freshness.FRESH)
        assert reader.message == ""

    def test_an_ended_log_is_picked_up_again_after_a_restart(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        reader = open_log()
        runtime.write(raw("first run"))
        runtime.send(b"".join([stamp(1).encode(), b" no newline at its end"]))
        runtime.send(None)
        wait_for(lambda: reader.message == ENDED)
        assert reader.freshness is Freshness.FRESH
        assert texts(reader) == ["first run", "no newline at its end"]
        wait_for(lambda: len(runtime.opened) == 2)
        runtime.write(raw("second run", 60))
        wait_for(lambda: reader.end == 3)
        assert reader.message == ""
        assert texts(reader)[-1] == "second run"

    def test_looking_again_at_an_ended_log_tells_nobody(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        calls: list[None] = []
        reader = open_log(lambda: calls.append(None))
        runtime.write(raw("one"))
        runtime.send(None)
        wait_for(lambda: reader.message == ENDED)
        for _ in range(20):
            runtime.source = None
            runtime.send(None)
        assert len(calls) <= 3  # opened, the line, the end
        assert texts(reader) == ["one"]

    def test_no_log_yet_and_then_there_is_one(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        runtime.refusal = NotFound("There is no container of that name.")
        reader = open_log()
        wait_for(lambda: reader.freshness is Freshness.NONE)
        assert reader.message == NO_LOG
        runtime.log.append(raw("hello"))
        runtime.refusal = None
        wait_for(lambda: reader.end == 1)
        assert (reader.freshness, reader.message) == (Freshness.FRESH, "")

    def test_a_refusal_is_shown(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        runtime.refusal = OperationFailed("Docker keeps no log with the driver none.", "Use another log driver.")
        reader = open_log()
        wait_for(lambda: reader.freshness is Freshness.FAILED)
        assert reader.message == "Docker keeps no log with the driver none. Use another log driver."

    def test_changes_are_told_in_bundles_and_the_last_one_is_never_lost(
        self, runtime: ScriptedRuntime, open_log: Opener
    ) -> None:
        readers: list[LogReader] = []
        ends: list[int] = []
        begun = time.monotonic()
        readers.append(open_log(lambda: ends.extend(reader.end for reader in readers)))
        for number in range(2000):
            runtime.write(raw(str(number), number / 1000))
        wait_for(lambda: ends and ends[-1] == 2000)
        assert len(ends) <= 3 + (time.monotonic() - begun) / logs.NOTIFY_INTERVAL_S

    def test_older_lines_are_dropped_and_counted(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        reader = open_log(max_lines=100)
        runtime.write(b"".join(raw(str(number), number / 1000) for number in range(5000)))
        wait_for(lambda: reader.end == 5000)
        assert (reader.first, reader.line(4900).text) == (4900, "4900")

    def test_close_ends_its_threads(self, runtime: ScriptedRuntime, open_log: Opener) -> None:
        before = set(threading.enumerate())
        reader = open_log()
        runtime.write(raw("one"))
        wait_for(lambda: reader.end == 1)
        threads = set(threading.enumerate()) - before
        assert len(threads) == 2
        reader.close()
        reader.close()
        wait_for(lambda: not any(thread.is_alive() for thread in threads), 2)
        assert texts(reader) == ["one"]


class BreakingRuntime:
    """Its stream breaks after as many bytes as the test says, again and again, and ends at last."""

    name = "breaking"
    secrets = ()

    def __init__(self, lines: list[bytes], breaks: list[int]) -> None:
        self.lines = lines
        self.breaks = breaks
        self.broken = 0

    def logs(self, _name: str, *, since: float | None = None, **_options: object) -> "BreakingRuntime":
        self.data = b"".join(line for line in self.lines if since is None or line[:30].decode() >= stamp(since - START))
        return self

    def __iter__(self) -> Iterator[bytes]:
        if self.broken < len(self.breaks):
            at = self.breaks[self.broken]
            self.broken += 1
            yield self.data[:at]
            raise BROKEN
        yield self.data

    def close(self) -> None:
        pass


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["same", "other", "模"])), min_size=1, max_size=20),
    st.lists(st.integers(0, 400), max_size=4),
    st.sampled_from([0.000001, 0.02, 1.0]),
)
def test_wherever_it_breaks_every_line_is_there_once(
    steps: list[tuple[int, str]], breaks: list[int], unit: float
) -> None:
    second, lines, expected = 0.0, [], []
    for step, text in steps:
        second += step * unit
        lines.append(raw(text, second))
        expected.append(text)
    reader = LogReader(cast("Runtime", BreakingRuntime(lines, breaks)), "model", lambda: None)
    try:
        wait_for(lambda: reader.message == ENDED)
        assert texts(reader) == expected
    finally:
        reader.close()
