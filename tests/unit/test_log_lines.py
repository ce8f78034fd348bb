"""Lines of a log: put together from what arrives, cleaned, masked, and kept as long as there is room."""

import itertools
import sys
import tracemalloc
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.log_line import Level, LineKind, Stream
from engine.observe.log_buffer import LogBuffer
from engine.observe.log_lines import MAX_CHARS, STAMP, LineAssembler, read_line
from engine.observe.log_words import LineReader
from engine.secrets import Masker

START = 1_763_683_200.0


def stamp(second: float) -> str:
    return datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def raw(text: str, second: float = 0, mark: str = " ") -> bytes:
    return f"{stamp(second)}{mark}{text}\n".encode()


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
