import itertools
import queue
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, NotFound, OperationFailed, RuntimeUnreachable
from engine.observe import logs
from engine.observe.log_buffer import LogBuffer
from engine.observe.log_lines import MAX_CHARS, STAMP, LineAssembler
from engine.observe.logs import ENDED, NO_LOG, LogReader
from engine.snapshot import Freshness

if TYPE_CHECKING:
    from engine.runtimes.base import Runtime

START = 1_763_683_200.0
BROKEN = RuntimeUnreachable("Docker does not answer.", "Start it.")


def stamp(second: float) -> str:
    return datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def raw(text: str, second: float = 0) -> bytes:
    return f"{stamp(second)} {text}\n".encode()


class ScriptedSource:
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

    def logs(self, _name: str, *, tail: int | None, follow: bool, since: float | None = None) -> ScriptedSource:
        assert follow
        self.opened.append((tail, since))
        if self.refusal:
            raise self.refusal
        with self.lock:
            history = [line for line in self.log if since is None or line[:30].decode() >= stamp(since - START)]
            self.source = ScriptedSource(history)
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


class TestLines:
    def lines(self, *blocks: bytes) -> list[str]:
        assembler = LineAssembler()
        return [line for block in blocks for line in assembler.feed(block)] + assembler.flush()

    def test_hostile_and_secret_text_is_made_harmless(self) -> None:
        assert self.lines(raw("a\x1b]52;c;aGVsbG8=\x07b \x1b[31mred\x1b[0m api_key='s3cret'")) == [
            f"{stamp(0)} ab red api_key='***'"
        ]

    def test_a_sequence_cannot_swallow_the_next_line(self) -> None:
        assert [line[STAMP:] for line in self.lines(raw("x\x1b]0;never ended"), raw("next", 1))] == ["x", "next"]

    def test_progress_is_one_line_that_shows_its_last_state(self) -> None:
        assembler = LineAssembler()
        assembler.feed(f"{stamp(0)} shards  10 %".encode())
        assert assembler.unfinished() == f"{stamp(0)} shards  10 %"
        assembler.feed(b"\rshards  50 %")
        assert assembler.unfinished() == f"{stamp(0)} shards  50 %"
        assert assembler.feed(b"\rshards 100 %\r\n") == [f"{stamp(0)} shards 100 %"]
        assert not assembler.unfinished()

    def test_endless_progress_keeps_its_time_and_its_last_state(self) -> None:
        assembler = LineAssembler()
        assembler.feed(f"{stamp(0)} ".encode())
        for step in range(5000):
            assembler.feed(f"\rstep {step} of 5000 {'=' * 40}".encode())
        assert assembler.feed(b"\n") == [f"{stamp(0)} step 4999 of 5000 {'=' * 40}"]

    def test_a_line_of_ten_megabytes_is_cut_and_never_held(self) -> None:
        assembler = LineAssembler()
        piece = b"x" * 65536
        tracemalloc.start()
        assembler.feed(f"{stamp(0)} ".encode())
        for _ in range(160):
            assembler.feed(piece)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000
        lines = assembler.feed(b"\n" + raw("after", 1))
        assert lines == [f"{stamp(0)} {'x' * MAX_CHARS} … 10,485,760 characters, cut", f"{stamp(1)} after"]

    def test_a_long_line_within_a_block_is_cut_as_well(self) -> None:
        assert self.lines(raw("é" * 9000)) == [f"{stamp(0)} {'é' * MAX_CHARS} … 9,000 characters, cut"]
        assert self.lines(raw("x" * MAX_CHARS)) == [f"{stamp(0)} {'x' * MAX_CHARS}"]

    def test_binary_is_survived(self) -> None:
        for line in self.lines(bytes(range(256)) * 64 + b"\n"):
            assert line.isprintable()

    pieces = st.lists(
        st.sampled_from([b"a", "é模🤖".encode(), b"\r", b"\n", b"\r\n", b"\x1b[1m", b"\xff", b"hf_x", b"\t"])
    )

    @given(pieces, st.lists(st.integers(0, 80)))
    def test_where_blocks_are_cut_makes_no_difference(self, pieces: list[bytes], cuts: list[int]) -> None:
        data = b"".join(raw("").strip(b"\n") + piece for piece in pieces)
        edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
        blocks = [data[a:b] for a, b in itertools.pairwise(edges)]
        assert self.lines(*blocks) == self.lines(data)


class TestBuffer:
    @given(st.lists(st.lists(st.text("ab", max_size=3), max_size=12)), st.integers(1, 8))
    def test_it_keeps_the_last_lines_and_numbers_them_all(self, batches: list[list[str]], max_lines: int) -> None:
        buffer = LogBuffer(max_lines, 1 << 20)
        for batch in batches:
            buffer.append(batch)
        every = [line for batch in batches for line in batch]
        first = max(0, len(every) - max_lines)
        assert (buffer.first, buffer.end) == (first, len(every))
        assert [(line.seq, line.text) for line in buffer.lines(0, len(every) + 5)] == list(enumerate(every))[first:]

    def test_memory_is_bounded_and_what_goes_is_counted(self) -> None:
        buffer = LogBuffer(100_000, 1 << 20)
        for number in range(50):
            buffer.append([f"{number} ".ljust(MAX_CHARS, "x")] * 10)
        kept = [line.text for line in buffer.lines(0, 500)]
        assert sum(map(sys.getsizeof, kept)) <= 1 << 20
        assert len(kept) > 100
        assert buffer.end == 500
        assert buffer.first == 500 - len(kept)
        with pytest.raises(IndexError):
            buffer.line(buffer.first - 1)
        assert buffer.line(499).text.startswith("49 ")


class TestReader:
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
