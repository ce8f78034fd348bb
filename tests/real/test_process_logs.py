"""The log of a local program: whole, in order, bounded, and without the secrets that it was given."""

import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from engine.log_line import MarkKind, Stream
from engine.observe.log_tail import read_lines
from engine.observe.logs import LogReader
from engine.runtimes.process import ProcessRuntime
from tests.real.process_support import begin, ended, launch, record_of, runtime, settings
from tests.real.triton_support import text_of, wait_until

__all__ = ["runtime", "settings"]  # the fixtures


def test_a_flood_of_output_is_kept_bounded_and_in_order(runtime: ProcessRuntime) -> None:
    """More than both files hold, and every line that is kept is whole and in its place."""
    begin(runtime, "a", "seq", "1", "400000")
    wait_until(lambda: ended(runtime, "a"), "it has ended", 30)
    numbers = [int(line) for line in text_of(runtime, "a").splitlines()]
    assert numbers == list(range(numbers[0], 400_001))
    assert len(numbers) > 20_000
    assert sum(file.stat().st_size for file in record_of(runtime, "a").folder.glob("log.*")) < 20 << 20


def test_a_huge_binary_line(runtime: ProcessRuntime) -> None:
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)).replace(b'\\n', b'') * 3000 + b'\\nend')"
    begin(runtime, "a", sys.executable, "-c", program)
    wait_until(lambda: ended(runtime, "a"), "it has ended")
    data = b"".join(runtime.logs("a", tail=None, follow=False))
    first, second = data.split(b"\n", 1)
    assert first[31:] == bytes(range(256)).replace(b"\n", b"").replace(b"\x18", b"") * 3000
    assert second[31:] == b"end\n"


TALKS_ON_BOTH = """
import sys, time
print("begins", flush=True)
for percent in range(0, 101, 20):
    print(f"\\rloading {percent} %", end="", file=sys.stderr, flush=True)
    time.sleep(0.05)
    print(f"said at {percent}", flush=True)
    time.sleep(0.05)
print(file=sys.stderr)
print("oops", file=sys.stderr)
"""


def test_both_streams_are_told_apart_and_a_bar_on_one_stays_one_line(runtime: ProcessRuntime) -> None:
    runtime.create(launch("a", sys.executable, "-c", TALKS_ON_BOTH))
    for run in (1, 2):
        runtime.start("a")
        wait_until(lambda: ended(runtime, "a"), "it has ended")
        lines = list(read_lines(runtime, "a", tail=None, follow=False))[-9 * run :]
    said = [line.text for line in lines if line.stream is Stream.OUT]
    assert said == ["begins", *(f"said at {percent}" for percent in range(0, 101, 20))] * 2
    assert [line.text for line in lines if line.stream is Stream.ERR] == ["loading 100 %", "oops"] * 2
    with closing(LogReader(runtime, "a", lambda: None)) as reader:
        wait_until(lambda: [mark.seq for mark in reader.marks if mark.kind is MarkKind.RUN] == [0, 9], "its runs")


def test_a_bar_under_way_is_the_last_line_whatever_else_is_said(runtime: ProcessRuntime) -> None:
    begin(runtime, "a", sys.executable, "-c", TALKS_ON_BOTH.replace("print(file=sys.stderr)", "time.sleep(1000)"))
    with closing(LogReader(runtime, "a", lambda: None)) as reader:
        wait_until(lambda: reader.end and reader.line(reader.end - 1).text == "loading 100 %", "its last state")
        assert [line.text for line in reader.lines(0, reader.end)][:2] == ["begins", "said at 0"]
        assert len([line for line in reader.lines(0, reader.end) if "loading" in line.text]) == 1


def test_the_value_of_a_secret_is_masked_in_its_log(
    runtime: ProcessRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "phrase").write_text("correct horse\n")
    monkeypatch.setenv("OTHER", "open sesame")
    script = "echo I know $PHRASE and $WORD; sleep 1000"
    begin(runtime, "a", "sh", "-c", script, secrets={"PHRASE": f"file:{tmp_path}/phrase", "WORD": "env:OTHER"})
    wait_until(lambda: text_of(runtime, "a"), "it speaks")
    monkeypatch.delenv("OTHER")  # as in another shell
    (tmp_path / "phrase").write_text("rotated since")
    assert [line.text for line in read_lines(runtime, "a", tail=None, follow=False)] == ["I know *** and ***"]


def test_following_ends_with_the_deployment_and_misses_nothing(runtime: ProcessRuntime) -> None:
    runtime.create(launch("a", "sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.05; done"))
    received: list[bytes] = []
    follower = threading.Thread(target=lambda: received.extend(runtime.logs("a", tail=None, follow=True)))
    follower.start()
    runtime.start("a")
    follower.join(timeout=15)
    assert not follower.is_alive()
    assert [line[31:] for line in b"".join(received).splitlines()] == [b"1", b"2", b"3", b"4", b"5"]
