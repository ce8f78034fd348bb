"""Logs and events of real containers: whole, in order, promptly ended, and never silently broken."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import docker
import pytest

from engine.deployment import Lifecycle
from engine.errors import RuntimeUnreachable
from engine.log_line import MarkKind, Stream, Styled
from engine.observe.log_tail import read_lines
from engine.observe.logs import LogReader
from engine.runtimes import docker_container, docker_logs
from engine.runtimes.base import LogSource
from engine.runtimes.docker import DockerRuntime
from tests.real.docker_support import Launches, deployment, read, texts, wait_until

pytestmark = pytest.mark.docker

STAMPED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z[>!}|]")


@pytest.fixture
def background() -> Iterator[Callable[..., "Future[None]"]]:
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def started(runtime: DockerRuntime, launches: Launches, script: str) -> str:
    launch = launches(script)
    runtime.create(launch)
    runtime.start(launch.name)
    return launch.name


def ended(runtime: DockerRuntime, launches: Launches, script: str) -> str:
    name = started(runtime, launches, script)
    wait_until(lambda: deployment(runtime, name).lifecycle is Lifecycle.EXITED, f"{name} to end")
    return name


def collect(log: LogSource, into: list[bytes]) -> None:
    into.extend(log)


def test_history_then_what_follows_and_close_ends_it_promptly(
    runtime: DockerRuntime, launches: Launches, background: Callable[..., "Future[None]"]
) -> None:
    name = started(runtime, launches, "for i in 1 2 3; do echo early $i; done; sleep 1; echo late >&2; exec sleep 600")
    wait_until(lambda: len(texts(read(runtime, name))) >= 3, "the early lines")
    log = runtime.logs(name, tail=2, follow=True)
    blocks: list[bytes] = []
    reading = background(collect, log, blocks)
    wait_until(lambda: b"late" in b"".join(blocks), "the late line to be followed")
    assert texts(b"".join(blocks)) == [b"early 2", b"early 3", b"late"]
    assert all(STAMPED.match(line) for line in b"".join(blocks).splitlines())

    began = time.monotonic()
    log.close()
    reading.result(5)
    assert time.monotonic() - began < 2
    log.close()
    assert list(log) == []


def test_a_follow_of_a_silent_container_opens_at_once_and_can_be_closed_unread(
    runtime: DockerRuntime, launches: Launches
) -> None:
    name = started(runtime, launches, "exec sleep 600")
    runtime.logs(name, tail=None, follow=True).close()


def test_a_follow_ends_with_its_container(
    runtime: DockerRuntime, launches: Launches, background: Callable[..., "Future[None]"]
) -> None:
    name = started(runtime, launches, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    blocks: list[bytes] = []
    reading = background(collect, runtime.logs(name, tail=None, follow=True), blocks)
    wait_until(lambda: blocks, "the first line")
    runtime.stop(name, timeout_s=10)
    reading.result(10)
    assert texts(b"".join(blocks)) == [b"up", b"bye"]


def test_since_leaves_out_what_was_read_before(runtime: DockerRuntime, launches: Launches) -> None:
    name = ended(runtime, launches, "echo one; sleep 0.3; echo two")
    first = read(runtime, name)[:30].decode()
    moment = time.mktime(time.strptime(first[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(first[19:-1]) + 0.1
    assert texts(b"".join(runtime.logs(name, tail=None, follow=False, since=moment))) == [b"two"]


def test_a_line_of_10_mb_and_what_is_no_text_pass_through(runtime: DockerRuntime, launches: Launches) -> None:
    script = (
        r"""head -c 10000000 /dev/zero | tr '\0' x; echo; printf '\033]52;c;Zm9v\007\000\377 [bold]\r\n'; printf open"""
    )
    name = ended(runtime, launches, script)
    log = read(runtime, name)
    assert all(STAMPED.match(line) for line in log.split(b"\n")[:-1])
    long, odd, unended = (line[31:] for line in log.split(b"\n")[:3])
    assert long == b"x" * 10_000_000
    # Docker keeps logs as JSON, so it replaces what is not UTF-8 itself.
    assert odd == b"\x1b]52;c;Zm9v\x07\x00\xef\xbf\xbd [bold]\r"
    assert unended == b"open"


def test_a_long_line_that_the_other_stream_interrupts_stays_whole(runtime: DockerRuntime, launches: Launches) -> None:
    script = "head -c 20000 /dev/zero | tr '\\0' x; sleep 0.3; echo between >&2; sleep 0.3; echo end"
    lines = texts(read(runtime, ended(runtime, launches, script)))
    assert [line for line in lines if not line.endswith(b"\x18")] == [b"between", b"x" * 20000 + b"end"]


def test_streams_are_told_apart_colours_kept_and_each_run_begins_with_a_mark(
    runtime: DockerRuntime, launches: Launches
) -> None:
    name = ended(
        runtime, launches, r"printf 'out \033[31mred\033[0m\n'; sleep 0.2; printf 'e\033[2Jrr\n' >&2; sleep 0.5"
    )
    with closing(LogReader(runtime, name, lambda: None)) as reader:
        wait_until(lambda: reader.end == 2, "the first run")
        out, err = reader.lines(0, 2)
        assert (out.text, out.stream, out.styled) == ("out red", Stream.OUT, (Styled(4, 7, "red"),))
        assert (err.text, err.stream, err.styled) == ("err", Stream.ERR, ())
        runtime.start(name)
        wait_until(lambda: reader.end == 4, "the second run")
        wait_until(lambda: [mark.seq for mark in reader.marks if mark.kind is MarkKind.RUN] == [0, 2], "its mark")


def test_the_value_of_a_secret_is_masked_in_its_log(
    runtime: DockerRuntime, launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHRASE", "correct horse")
    launch = launches("echo I know $PHRASE", secrets={"PHRASE": "env"})
    runtime.create(launch)
    monkeypatch.delenv("PHRASE")  # as in another shell: the container itself still has it
    runtime.start(launch.name)
    lines = wait_until(lambda: list(read_lines(runtime, launch.name, tail=None, follow=False)), "its word")
    assert [line.text for line in lines] == ["I know ***"]


def test_a_container_with_a_terminal(
    runtime: DockerRuntime, launches: Launches, docker_engine: docker.DockerClient
) -> None:
    launch = launches()
    docker_engine.containers.run(
        launches.image,
        ["sh", "-c", r"printf '10 %%\r100 %%\n\033[1mbold\033[0m\n' >&2; exec sleep 600"],
        name=launch.container_name,
        labels=docker_container.labels(launch),
        tty=True,
        detach=True,
    )
    with closing(LogReader(runtime, launch.name, lambda: None)) as reader:
        wait_until(lambda: reader.end == 2, "its lines")
        bar, bold = reader.lines(0, 2)
    assert (bar.text, bar.stream) == ("100 %", None)
    assert (bold.text, bold.styled) == ("bold", (Styled(0, 4, "bold"),))


def test_a_busy_log_arrives_whole_and_in_order(runtime: DockerRuntime, launches: Launches) -> None:
    name = started(runtime, launches, "seq 200000")
    assert texts(b"".join(runtime.logs(name, tail=None, follow=True))) == [
        *map(str.encode, map(str, range(1, 200_001)))
    ]


def test_a_follow_that_outlives_its_container_is_noticed(
    runtime: DockerRuntime,
    launches: Launches,
    background: Callable[..., "Future[None]"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Docker's own bug cannot be had at will: a stream that never says anything more stands for it."""
    monkeypatch.setattr(docker_logs, "SILENCE_S", 0.2)
    name, silent = ended(runtime, launches, "echo done"), started(runtime, launches, "exec sleep 600")
    stale = runtime.logs(silent, tail=None, follow=True)
    log = docker_logs.DockerLog(
        name,
        stale._stream,  # type: ignore[attr-defined]
        follow=True,
        still_running=runtime.logs(name, tail=None, follow=False)._still_running,  # type: ignore[attr-defined]
    )
    background(collect, log, []).result(5)


def test_an_orderly_end_while_the_container_runs_is_not_the_end(
    runtime: DockerRuntime, launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon may end every follow as it goes down: a log that is not followed ends in the same way."""
    monkeypatch.setattr(docker_logs, "ENDING_CHECKS", 2)
    name = started(runtime, launches, "exec sleep 600")
    ending = runtime.logs(name, tail=None, follow=False)
    log = docker_logs.DockerLog(
        name,
        ending._stream,  # type: ignore[attr-defined]
        follow=True,
        still_running=ending._still_running,  # type: ignore[attr-defined]
    )
    with pytest.raises(RuntimeUnreachable, match="ended while the container runs"):
        list(log)


def test_events_report_ours_alone_and_end_when_asked(
    runtime: DockerRuntime,
    launches: Launches,
    docker_engine: docker.DockerClient,
    background: Callable[..., "Future[None]"],
) -> None:
    closing = threading.Event()
    seen: list[float] = []
    watching = background(runtime.watch, lambda: seen.append(time.monotonic()), closing)
    launch = launches()
    runtime.create(launch)
    # The watch may have begun after the creation; what follows it must see.
    wait_until(lambda: seen_after_a_restart(runtime, launch.name, seen), "the events to begin")

    count = settled(seen)
    foreign = docker_engine.containers.run(
        launches.image, ["sleep", "600"], name=f"{launches.prefix}-other", detach=True
    )
    foreign.remove(force=True)
    assert settled(seen) == count
    runtime.start(launch.name)
    wait_until(lambda: len(seen) > count, "the start")

    began = time.monotonic()
    closing.set()
    watching.result(5)
    assert time.monotonic() - began < 2


def seen_after_a_restart(runtime: DockerRuntime, name: str, seen: list[float]) -> bool:
    runtime.start(name)
    runtime.stop(name, timeout_s=0)
    return bool(seen)


def settled(seen: list[float], quiet_s: float = 0.5) -> int:
    """How many there are once none has come for a while."""
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - max([began, *seen[-1:]]) > quiet_s, "the events to pause")
    return len(seen)
