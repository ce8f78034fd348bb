"""Docker's coding of logs, however the network cuts it."""

import struct
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.drift import launch_facts
from engine.plan import Launch
from engine.runtimes.docker_logs import Demultiplexer, LogCorruptError, secrets_of
from engine.runtimes.docker_stream import ChunkDecoder, StreamBrokenError

STAMP = b"2026-01-02T03:04:05.123456789Z "
OUT, ERR = STAMP[:-1] + b">", STAMP[:-1] + b"!"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def frame(text: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxL", stream, len(STAMP + text)) + STAMP + text


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(at)]


@given(lines=st.lists(st.binary(max_size=50)), cuts=st.lists(st.integers(min_value=0), max_size=20))
def test_no_cut_loses_or_changes_anything(lines: list[bytes], cuts: list[int]) -> None:
    lines = [line.replace(b"\n", b"").replace(b"\x18", b"") + b"\n" for line in lines]
    sent = b"".join(chunk(frame(line, stream=1 + len(line) % 2)) for line in lines) + b"0\r\n\r\n"
    chunks, frames = ChunkDecoder(), Demultiplexer()
    received = b"".join(frames.feed(chunks.feed(piece)) for piece in pieces(sent, cuts))
    assert received == b"".join((ERR if len(line) % 2 else OUT) + line for line in lines)
    assert chunks.ended


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([frame(b"ab"), frame(b"cd"), frame(b"e\n")], [OUT + b"abcde"]),
        ([frame(b"ab"), frame(b"x\n", 2), frame(b"cd\n")], [ERR + b"x", OUT + b"abcd"]),
        (
            [frame(b"ab"), frame(b"x", 2), frame(b"c\n"), frame(b"y\n", 2), frame(b"z\n")],
            [OUT + b"abc", ERR + b"xy", OUT + b"z"],
        ),
        ([frame(b"\n"), frame(b"a\n")], [OUT, OUT + b"a"]),
        ([frame(b"void by itself\x18\n"), frame(b"a\n")], [OUT + b"void by itself", OUT + b"a"]),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_pieces_of_a_long_line_become_one_line(frames: list[bytes], expected: list[bytes], *, at_once: bool) -> None:
    log = Demultiplexer()
    data = b"".join(map(log.feed, [b"".join(frames)] if at_once else frames))
    assert [line for line in data.split(b"\n")[:-1] if not line.endswith(b"\x18")] == expected


def test_a_container_with_a_terminal_sends_its_lines_as_they_are() -> None:
    log = Demultiplexer()
    assert log.feed(STAMP + b"one\r\n" + STAMP[:9]) + log.feed(STAMP[9:] + b"tw\x18o\r\n") == (
        STAMP + b"one\r\n" + STAMP + b"two\r\n"
    )


STARTED = 1_767_323_045.0
"""In whole seconds what `STAMP` says"""


@pytest.mark.parametrize(
    ("began", "from_start", "marks"),
    [
        (STARTED, True, b"}!"),
        (STARTED, False, b">!"),
        (STARTED + 60, True, b">!"),
        (None, True, b">!"),
    ],
)
def test_the_first_line_of_a_run_is_marked_when_it_certainly_is(
    began: float | None, marks: bytes, *, from_start: bool
) -> None:
    data = Demultiplexer(began=began, from_start=from_start).feed(frame(b"a\n") + frame(b"b\n", 2))
    assert bytes(line[30] for line in data.splitlines()) == marks


def test_the_first_line_after_those_of_an_earlier_run_is_marked() -> None:
    earlier = frame(b"a\n").replace(b"T03:04", b"T03:01")
    data = Demultiplexer(began=STARTED).feed(earlier + frame(b"b\n") + frame(b"c\n"))
    assert bytes(line[30] for line in data.splitlines()) == b">}>"


DEPLOYMENT = Deployment(
    "m", "docker", "vllm", "id", "image", Lifecycle.RUNNING, Service(Protocol.OPENAI, "", ""), created_at=0.0
)


def test_the_values_of_secrets_are_found_in_a_containers_environment() -> None:
    launch = Launch("m", "vllm", "docker", (), DEPLOYMENT.service, secrets={"PASSPHRASE": "env", "GONE": "env:X"})
    report = {
        "Config": {
            "Env": ["PASSPHRASE=open sesame", "HF_TOKEN=of-the-image", "PATH=/bin", "HF_HUB_DISABLE_IMPLICIT_TOKEN=1"],
            "Cmd": ["serve", "--api-key", "let-me-in"],
        }
    }
    ours = replace(DEPLOYMENT, launch_facts=launch_facts(launch))
    assert [value for value in secrets_of(ours, report) if value] == ["open sesame"]
    assert secrets_of(replace(DEPLOYMENT, foreign=True), report) == ("of-the-image", "let-me-in")
    adopted = {value for value in secrets_of(replace(ours, adopted=True), report) if value}
    assert adopted == {"open sesame", "of-the-image", "let-me-in"}


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
