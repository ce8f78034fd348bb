"""What the shim writes and the log reader reads, without any server: stamps, streams, rotation, full disks."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runtimes.log_writer import ERR, LONGEST_VOID, OUT, LogWriter, Weaver, log_numbers, stamp
from engine.runtimes.process_log import FileLog
from engine.runtimes.shim import identify

STAMPED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z[ >!}|#]")


def read(folder: Path, *, tail: int | None = None, since: float | None = None) -> list[bytes]:
    return b"".join(FileLog(folder, lambda: True, tail=tail, follow=False, since=since)).splitlines(keepends=True)


def texts(lines: list[bytes]) -> list[bytes]:
    for line in lines:
        assert STAMPED.match(line)
    return [line[31:] for line in lines]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LogWriter]:
    writer = LogWriter(str(tmp_path), 64 << 20)
    yield writer
    writer.close()


def test_a_stamp_is_as_docker_writes_it() -> None:
    assert stamp(1_700_000_000_000_000_007) == b"2023-11-14T22:13:20.000000007Z"
    assert len(stamp(0)) == 30


def test_every_line_is_stamped_once_however_it_arrives(tmp_path: Path, writer: LogWriter) -> None:
    whole = b"one\n\ntwo\nbin\x00\xff\x1b[31m\r\n" + b"x" * 3_000_000 + b"\nlast\n"
    for start in range(0, len(whole), 7777):
        writer.write(OUT, whole[start : start + 7777])
    for byte in b"slow\n":
        writer.write(OUT, bytes([byte]))
    assert b"".join(texts(read(tmp_path))) == whole + b"slow\n"


def test_an_unfinished_line_is_ended_before_the_next_run(tmp_path: Path) -> None:
    first = LogWriter(str(tmp_path), 1 << 20)
    first.write(OUT, b"cut")
    first.close()
    (tmp_path / "log.1").write_bytes((tmp_path / "log.1").read_bytes() + stamp(0) + b">torn by a power cut")
    second = LogWriter(str(tmp_path), 1 << 20)
    second.write(OUT, b"next\n")
    second.close()
    assert texts(read(tmp_path)) == [b"cut\n", b"torn by a power cut\n", b"next\n"]


def test_rotation_keeps_whole_lines_and_a_bounded_size(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 10_000)
    for number in range(0, 5000, 3):
        writer.write(OUT, b"".join(b"line %d\n" % n for n in range(number, number + 3))[:-2])
        writer.write(OUT, b"".join(b"line %d\n" % n for n in range(number, number + 3))[-2:])
    writer.close()
    assert len(log_numbers(str(tmp_path))) == 2
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 25_000
    kept = [int(text.split()[1]) for text in texts(read(tmp_path))]
    assert kept == list(range(kept[0], 5001))
    assert len(kept) > 200


def test_one_endless_line_is_cut_rather_than_growing_for_ever(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 10_000)
    for _ in range(100):
        writer.write(OUT, b"x" * 1000)
    writer.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 30_000
    assert all(10_000 <= len(text) < 14_000 for text in texts(read(tmp_path))[:-1])


def test_a_full_disk_drops_lines_and_says_so_once_there_is_room(tmp_path: Path) -> None:
    (tmp_path / "log.1").symlink_to("/dev/full")
    writer = LogWriter(str(tmp_path), 1 << 20)
    writer.write(OUT, b"one\ntwo\nthr")
    writer.write(OUT, b"ee\nfour, of which the e")
    assert writer.dropped == 5
    (tmp_path / "log.1").unlink()
    writer.write(OUT, b"nd is written\nfive\n")
    assert writer.dropped == 0
    writer.close()
    assert read(tmp_path)[0][30:31] == b"#"
    note, rest, five = texts(read(tmp_path))
    assert note == b"[tritontui] 5 lines were dropped: the log could not be written\n"
    assert (rest, five) == (b"nd is written\n", b"five\n")


def test_a_vanished_folder_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    writer = LogWriter(str(folder), 1 << 20)
    writer.write(OUT, b"one\n")
    folder.mkdir()
    writer.write(OUT, b"two\n")
    writer.close()
    assert texts(read(folder))[-1] == b"two\n"


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """Lines 0 to 999 with line N written at N seconds, 600 in the older file; streams are not told, as once."""
    for number, span in ((4, range(600)), (5, range(600, 1000))):
        lines = [stamp(n * 10**9) + b" %d " % n + b"x" * (n % 7 * 1000) + b"\n" for n in span]
        (tmp_path / f"log.{number}").write_bytes(b"".join(lines))
    return tmp_path


@pytest.mark.parametrize("tail", [0, 1, 399, 400, 401, 999, 1000, 1001])
def test_the_tail_spans_both_files(two_files: Path, tail: int) -> None:
    lines = read(two_files, tail=tail)
    assert [int(line[31:].split()[0]) for line in lines] == list(range(1000 - min(tail, 1000), 1000))


def test_an_unfinished_last_line_counts_as_a_line(two_files: Path) -> None:
    with (two_files / "log.5").open("ab") as file:
        file.write(stamp(1000 * 10**9) + b">1000 unfinished")
    assert [int(line[31:].split()[0]) for line in read(two_files, tail=2)] == [999, 1000]


@pytest.mark.parametrize(
    ("since", "first"), [(0.0, 0), (599.0, 599), (599.5, 600), (600.0, 600), (998.2, 999), (2e9, 1000)]
)
def test_since_spans_both_files(two_files: Path, since: float, first: int) -> None:
    assert [int(line[31:].split()[0]) for line in read(two_files, since=since)] == list(range(first, 1000))


def test_the_stricter_of_tail_and_since_holds(two_files: Path) -> None:
    assert len(read(two_files, since=500.0, tail=3)) == 3
    assert len(read(two_files, since=998.0, tail=500)) == 2


def test_following_reads_over_rotations_in_order(tmp_path: Path) -> None:
    """The writer waits for the reader within each file, so that nothing may be missing."""
    done = threading.Event()
    log = FileLog(tmp_path, done.is_set, tail=None, follow=True, since=None)
    received = bytearray()
    arrived = threading.Condition()

    def consume() -> None:
        for block in log:
            with arrived:
                received.extend(block)
                arrived.notify()

    reader = threading.Thread(target=consume)
    reader.start()
    writer = LogWriter(str(tmp_path), 5_000)
    for number in range(0, 400, 50):
        writer.write(OUT, b"".join(b"line %d\n" % n for n in range(number, number + 50)))
        with arrived:
            assert arrived.wait_for(lambda last=number + 49: b"line %d\n" % last in received, timeout=10)  # type: ignore[misc]
    writer.close()
    done.set()
    reader.join(timeout=10)
    assert not reader.is_alive()
    assert texts(bytes(received).splitlines(keepends=True)) == [b"line %d\n" % n for n in range(400)]
    assert log_numbers(str(tmp_path))[0] > 1


def test_a_reader_that_was_outrun_says_that_lines_are_missing(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), 1_000)
    writer.write(OUT, b"first\n")
    blocks = iter(FileLog(tmp_path, lambda: False, tail=None, follow=True, since=None))
    assert next(blocks).endswith(b"first\n")
    for number in range(100):
        writer.write(OUT, b"line %d %s\n" % (number, b"x" * 100))
    received = next(blocks)
    while b"line 99" not in received:
        received += next(blocks)
    writer.close()
    assert b"Z#[tritontui] lines are missing here: the log outran its reader\n" in received


def test_closing_ends_a_follower_that_waits(tmp_path: Path) -> None:
    log = FileLog(tmp_path, lambda: False, tail=0, follow=True, since=None)
    reader = threading.Thread(target=lambda: list(log))
    reader.start()
    log.close()
    reader.join(timeout=5)
    assert not reader.is_alive()


def lines_of(log: bytes) -> list[bytes]:
    """What counts of it, without times: mark and text."""
    return [line[30:] for line in log.split(b"\n")[:-1] if not line.endswith(b"\x18")]


def woven(*said: tuple[int, bytes]) -> list[bytes]:
    weaver = Weaver()
    return lines_of(b"".join(weaver.feed(stream, block, stamp(0)) for stream, block in said) + weaver.end(stamp(0)))


class TestTwoStreams:
    def test_each_line_has_the_mark_of_its_stream(self) -> None:
        assert woven((OUT, b"a\nb\n"), (ERR, b"c\n"), (OUT, b"d\n")) == [b">a", b">b", b"!c", b">d"]

    def test_a_line_whose_pieces_the_other_stream_comes_between_stays_whole(self) -> None:
        assert woven((OUT, b"one "), (ERR, b"x\ny"), (OUT, b"line\n"), (ERR, b"z\n")) == [b"!x", b">one line", b"!yz"]
        assert woven((OUT, b"one "), (ERR, b"half"), (OUT, b"line")) == [b">one line", b"!half"]

    def test_an_interrupted_progress_bar_is_one_line_and_stays_visible(self) -> None:
        weaver = Weaver()
        log = weaver.feed(ERR, b"\r10 %", stamp(0)) + weaver.feed(ERR, b"\r20 %", stamp(1))
        for number in range(3):
            log += weaver.feed(OUT, b"line %d\n" % number, stamp(2))
            assert log.endswith(b"Z!20 %"), "it stands behind what came in between"
        log += weaver.feed(ERR, b"\r100 %\n", stamp(3))
        assert lines_of(log) == [b">line 0", b">line 1", b">line 2", b"!20 %\r100 %"]

    def test_what_is_too_long_to_come_again_is_cut(self) -> None:
        long = b"x" * (LONGEST_VOID + 1)
        assert woven((OUT, long), (ERR, b"y\n"), (OUT, b"z\n")) == [b">" + long, b"!y", b">z"]

    def test_a_program_cannot_make_its_own_lines_void(self) -> None:
        assert woven((OUT, b"kept\x18\n"), (OUT, b"too\x18"), (OUT, b"\n")) == [b">kept", b">too"]

    @given(st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.text("ab\n", min_size=1, max_size=6)), max_size=30))
    def test_nothing_is_lost_added_or_mixed(self, said: list[tuple[int, str]]) -> None:
        lines = woven(*((stream, text.encode()) for stream, text in said))
        for stream, mark in ((OUT, b">"), (ERR, b"!")):
            whole = "".join(text for one, text in said if one == stream).encode()
            expected = whole.removesuffix(b"\n").split(b"\n") if whole else []
            assert [line[1:] for line in lines if line[:1] == mark] == expected

    def test_the_first_line_of_a_run_is_marked(self, tmp_path: Path) -> None:
        for word in (b"one", b"two"):
            writer = LogWriter(str(tmp_path), 1 << 20)
            writer.write(ERR, word)
            writer.write(ERR, b" begins\nand goes on\n")
            writer.close()
        assert [line[30:31] for line in read(tmp_path)] == [b"|", b"!", b"|", b"!"]

    def test_void_lines_count_for_no_tail(self, tmp_path: Path, writer: LogWriter) -> None:
        for number in range(50):
            writer.write(ERR, b"\rbar %d" % number)
            writer.write(OUT, b"line %d\n" % number)
        assert [line[1:] for line in lines_of(read_all(tmp_path, tail=10))] == [b"line %d" % n for n in range(41, 50)]

    def test_a_bar_goes_on_over_rotations(self, tmp_path: Path) -> None:
        writer = LogWriter(str(tmp_path), 2_000)
        for number in range(500):
            writer.write(ERR, b"\rbar %d" % number)
            writer.write(OUT, b"line %d\n" % number)
        writer.close()
        lines = lines_of(read_all(tmp_path))
        numbers = [int(line.split()[1]) for line in lines if line.startswith(b">")]
        assert numbers == list(range(numbers[0], 500))
        assert len(log_numbers(str(tmp_path))) == 2


def read_all(folder: Path, *, tail: int | None = None) -> bytes:
    return b"".join(read(folder, tail=tail))


def test_a_process_that_does_not_exist_has_no_identity() -> None:
    assert identify(2**22 + 1) is None
