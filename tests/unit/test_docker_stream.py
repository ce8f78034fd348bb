"""Docker's coding of logs, however the network cuts it."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runtimes.docker_logs import Demultiplexer, LogCorruptError
from engine.runtimes.docker_stream import ChunkDecoder, StreamBrokenError

STAMP = b"2026-01-02T03:04:05.123456789Z "


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def frame(text: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxL", stream, len(STAMP + text)) + STAMP + text


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(at)]


@given(lines=st.lists(st.binary(max_size=50)), cuts=st.lists(st.integers(min_value=0), max_size=20))
def test_no_cut_loses_or_changes_anything(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.replace(b"\n", b"") + b"\n" for line in lines]
    sent = b"".join(chunk(frame(line, stream=1 + len(line) % 2)) for line in lines) + b"0\r\n\r\n"
    chunks, frames = ChunkDecoder(), Demultiplexer()
    received = b"".join(frames.feed(chunks.feed(piece)) for piece in pieces(sent, cuts))
    assert received == b"".join(STAMP + line for line in lines)
    assert chunks.ended


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([frame(b"ab"), frame(b"cd"), frame(b"e\n")], [b"abcde"]),
        ([frame(b"ab"), frame(b"x\n", 2), frame(b"cd\n")], [b"ab", b"x", b"cd"]),
        ([frame(b"\n"), frame(b"a\n")], [b"", b"a"]),
    ],
)
def test_pieces_of_a_long_line_become_one_line(frames: list[bytes], expected: list[bytes]) -> None:
    log = Demultiplexer().feed(b"".join(frames))
    assert log == b"".join(STAMP + line + b"\n" for line in expected)


def test_an_answer_that_does_not_end_is_not_taken_for_ended() -> None:
    chunks = ChunkDecoder()
    assert chunks.feed(chunk(b"whole") + b"5\r\nhal") == b"whole"
    assert not chunks.ended


@pytest.mark.parametrize("answer", [b"<html>\r\n", b"x" * 2000, b"-8\r\n\r\n\r\n"])
def test_what_is_no_chunk_is_an_error(answer: bytes) -> None:
    with pytest.raises(StreamBrokenError):
        ChunkDecoder().feed(answer)


def test_dockers_own_error_in_a_log_is_told_without_control_characters() -> None:
    with pytest.raises(LogCorruptError, match=r"^Error grabbing logs: bad file$"):
        Demultiplexer().feed(struct.pack(">BxxxL", 3, 35) + b"Error grabbing\x1b[31m logs: bad file\n\n ")


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad", struct.pack(">BxxxL", 1, 1 << 31)])
def test_what_is_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(LogCorruptError):
        Demultiplexer().feed(data)
