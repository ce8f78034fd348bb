import itertools
import queue
import sys
import threading
import time
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import EngineError, NotFound, OperationFailed, RuntimeUnreachable
from engine.log_line import Level, LineKind, LogMark, MarkKind, Stream
from engine.observe import logs
from engine.observe.log_buffer import LogBuffer
from engine.observe.log_lines import MAX_CHARS, STAMP, LineAssembler, read_line
from engine.observe.log_words import LineReader
from engine.observe.logs import ENDED, NO_LOG, LogReader
from engine.secrets import Masker
from engine.snapshot import Freshness

if TYPE_CHECKING:
    from engine.runtimes.base import Runtime

START = 1_763_683_200.0
BROKEN = RuntimeUnreachable("Docker does not answer.", "Start it.")


def stamp(second: float) -> str:
    return datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def raw(text: str, second: float = 0, mark: str = " ") -> bytes:
    return f"{stamp(second)}{mark}{text}\n".encode()


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

    def test_void_lines_are_left_out(self) -> None:
        data = raw("10 %\x18", mark="!") + raw("said", mark=">") + raw("20 %\x18", mark="!") + raw("100 %", mark="!")
        assert self.lines(data) == [f"{stamp(0)}>said", f"{stamp(0)}!100 %"]
        assert self.lines(raw("alone\x18")) == []

    def test_a_void_line_is_not_shown_as_unfinished_once_it_is_known_to_be_void(self) -> None:
        assembler = LineAssembler()
        assembler.feed(raw("10 %\x18")[:-1])
        assert assembler.unfinished() == ""
        assert assembler.feed(b"\n") == []

    SECRET = "correct horse"

    def test_a_secret_is_masked_though_it_is_coloured_or_cut(self) -> None:
        assembler = LineAssembler(Masker([self.SECRET]))
        coloured = raw("the \x1b[1mcorrect\x1b[0m horse, \x1b[1mtoo\x1b[0m")
        assert assembler.feed(coloured[:45]) == []
        assert assembler.feed(coloured[45:] + raw("\x1b[1mbold\x1b[0m")) == [
            f"{stamp(0)} the ***, too",
            f"{stamp(0)} \x1b[1mbold\x1b[0m",
        ]
        assembler.feed(raw("the correct ho")[:-1])
        assert assembler.unfinished() == f"{stamp(0)} the ***"

    stamps = st.sampled_from([raw("", mark=mark)[:-1] for mark in " >!@}|#"] + [b""])
    plain = (b"a", "é模🤖".encode(), b"x" * 5000, b"correct horse", b"hf_0123456789abcdefXYZ")
    controls = (b"\r", b"\n", b"\r\n", b"\t", b"\xff", b"\x1b[1m", b"\x1b[", b"\x1b]0;", b"\x9b", b"\x18\n")
    pieces = st.sampled_from([*plain, *controls])
    logs = st.lists(st.tuples(stamps, pieces)).map(lambda pairs: b"".join(map(b"".join, pairs)))

    @given(logs, st.lists(st.integers(0, 400)))
    def test_where_blocks_are_cut_makes_no_difference_and_nothing_bad_is_left(
        self, data: bytes, cuts: list[int]
    ) -> None:
        edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
        blocks = [data[a:b] for a, b in itertools.pairwise(edges)]
        assembler = LineAssembler(Masker([self.SECRET]))
        lines, unfinished = [], []
        for block in blocks:
            lines += assembler.feed(block)
            unfinished.append(assembler.unfinished())
        lines += assembler.flush()
        whole = LineAssembler(Masker([self.SECRET]))
        assert lines == whole.feed(data) + whole.flush()
        reader = LineReader()
        for line in [read_line(0, line, reader) for line in (*lines, *filter(None, unfinished))]:
            assert not [char for char in line.text if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"}]
            assert self.SECRET not in line.text
            assert "hf_0" not in line.text
            assert len(line.text) <= MAX_CHARS + 50
            ends = [0, *(part.end for part in line.styled)]
            assert all(end <= part.start < part.end for end, part in zip(ends, line.styled, strict=False))
            assert ends[-1] <= len(line.text)


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

    def test_lines_say_what_they_are(self) -> None:
        buffer = LogBuffer(100, 1 << 20)
        assembler = LineAssembler()
        log = raw("(W pid=1) INFO 11-20 23:49:56 [a.py:1] \x1b[31mred\x1b[0m", mark=">") + raw("E1120 1", mark="!")
        buffer.append(assembler.feed(log + raw("[tritontui] 5 lines were dropped", mark="#") + raw("plain")))
        coloured, other, gap, plain = buffer.lines(0, 10)
        assert (coloured.stream, coloured.level, coloured.source) == (Stream.OUT, Level.INFO, "W")
        assert [(coloured.text[part.start : part.end], part.style) for part in coloured.styled] == [("red", "red")]
        assert (other.stream, gap.kind, gap.stream) == (Stream.ERR, LineKind.GAP, None)
        assert (plain.stream, plain.level, plain.kind, plain.styled) == (None, None, LineKind.PLAIN, ())

    def test_a_line_of_a_traceback_is_known_when_it_is_read_alone(self) -> None:
        lines = ["Traceback (most recent call last):", '  File "a.py", line 1, in f', "    f()", "ValueError: no", "on"]
        buffer = LogBuffer(100, 1 << 20)
        buffer.append([f"{stamp(0)}!{line}" for line in ["before"] * 20 + lines])
        every = buffer.lines(0, 100)
        assert [line.kind.value for line in every[20:]] == ["traceback", "frame", "frame", "plain", "plain"]
        assert [line.level for line in every[22:]] == [None, Level.ERROR, None]
        assert [buffer.line(seq) for seq in range(25)] == every


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
