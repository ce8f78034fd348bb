"""A container's log as Docker sends it: frames of standard output and error, put together into one stream of lines."""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from engine.deployment import Deployment
from engine.drift import facts
from engine.errors import RuntimeUnreachable
from engine.runtimes.docker_stream import DockerStream, StreamBrokenError
from engine.runtimes.log_writer import FIRST_MARKS, MARKS, OUT, STAMP_BYTES, VOID, Weaver, stamp
from engine.text import clean

SILENCE_S = 10.0
ENDING_CHECK_S = 0.1
ENDING_CHECKS = 20
HEADER = struct.Struct(">BxxxL")
SYSTEM_ERROR = 3
LONGEST_FRAME = 1 << 26
NEWLINE = 0x0A
EARLY_S = 0.25
"""A program's first lines can be older than the time at which Docker says that it was started"""
_SECRET = "secret."  # noqa: S105 (the name of none)
"""Before the name of a variable, in what `engine.drift.launch_facts` says"""
_KEY_OPTIONS = ("--api-key", "--api_key")


def secrets_of(deployment: Deployment, report: Mapping[str, Any]) -> tuple[str, ...]:
    """The values in its environment that are secrets: by its launch; of what was started by hand, by their look.

    `report`: an `inspect` of its container.
    """
    config: Mapping[str, Any] = report.get("Config") or {}
    env = dict(str(word).split("=", 1) for word in config.get("Env") or () if "=" in str(word))
    known = facts(deployment.launch_facts)
    named = tuple(env.get(key.removeprefix(_SECRET), "") for key in known if key.startswith(_SECRET))
    if known and not deployment.adopted:
        return named
    from engine.profile import is_secret  # brings pydantic, which is slow to import

    words = [str(word) for word in (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))]
    keys = (key for option, key in pairwise(words) if option in _KEY_OPTIONS)
    return (*named, *(value for name, value in env.items() if is_secret(name, value)), *keys)


class LogCorruptError(Exception):
    """What came is not what Docker sends, or says that Docker cannot read the log."""


class Demultiplexer:
    """Frames in, lines with their times and streams out. A frame is one line, or 16 KiB of a longer one.

    `began`: when the latest run began; its first line is marked if that is certainly the first: when all is read
    (`from_start`), or a line of an earlier run was.
    """

    def __init__(self, *, began: float | None = None, from_start: bool = False) -> None:
        self._rest = b""
        self._weaver = Weaver()
        self._run = b"" if began is None else stamp(int((began - EARLY_S) * 1e9))
        """No line of the latest run is older, as long as the first of them has not come"""
        self._from_start = from_start
        self._is_plain: bool | None = None
        """A container with a terminal has one stream, which is sent as it is; only what comes tells which it is"""

    def feed(self, data: bytes) -> bytes:
        """Raises `LogCorruptError`."""
        if self._rest:
            data = self._rest + data
        if self._is_plain is None:
            self._is_plain = data[:1].isdigit()
        if self._is_plain:
            return data.replace(VOID, b"")
        pieces: list[bytes] = []
        position, length = 0, len(data)
        weaver = self._weaver
        # Of a program that ends a line so itself, the weaver takes that away.
        simple = VOID + b"\n" not in data
        idle = simple and weaver.is_idle
        while position + 8 <= length:
            stream, size = HEADER.unpack_from(data, position)
            begin = position + 8
            end = begin + size
            if stream > SYSTEM_ERROR or size > LONGEST_FRAME:
                raise LogCorruptError("it sent something else than a log")
            if end > length:
                break
            position = end
            if not size:
                continue
            if stream == SYSTEM_ERROR:
                raise LogCorruptError(clean(data[begin:end].decode("utf-8", "replace")).strip())
            text = begin + STAMP_BYTES
            if idle and data[end - 1] == NEWLINE:
                mark = self._first_mark(data[begin:text], stream) if self._run else MARKS[stream or OUT]
                pieces += data[begin:text], mark, data[text + 1 : end]
                continue
            pieces.append(weaver.feed(stream or OUT, data[text + 1 : end], data[begin:text]))
            idle = simple and weaver.is_idle
        self._rest = data[position:]
        return b"".join(pieces)

    def _first_mark(self, at: bytes, stream: int) -> bytes:
        if at < self._run:
            self._from_start = True
            return MARKS[stream or OUT]
        self._run = b""
        return (FIRST_MARKS if self._from_start else MARKS)[stream or OUT]


class DockerLog:
    """An open log; see `LogSource`. `still_running` says whether more can come, and raises what runtimes raise."""

    def __init__(
        self,
        name: str,
        stream: DockerStream,
        *,
        follow: bool,
        still_running: Callable[[], bool],
        frames: Demultiplexer | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.secrets = secrets
        self._frames = frames or Demultiplexer()
        self._name = name
        self._stream = stream
        self._follow = follow
        self._still_running = still_running

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._blocks()
            if self._follow:
                self._expect_end()
        except (StreamBrokenError, LogCorruptError) as error:
            raise RuntimeUnreachable(
                f"Docker broke off the log of {self._name}: {error}.", "It is read again once Docker answers."
            ) from error
        finally:
            self._stream.close()

    def _blocks(self) -> Iterator[bytes]:
        over = False
        while (body := self._stream.read(SILENCE_S)) is not None:
            if body:
                over = False
                if block := self._frames.feed(body):
                    yield block
            elif over:
                return
            else:
                # A follow can outlive its container or its daemon and stay silent for ever; one more read takes
                # what was under way when the container ended.
                over = not self._still_running()

    def _expect_end(self) -> None:
        """A daemon that goes down can end a follow in good order although the container runs on."""
        for _ in range(ENDING_CHECKS):
            if self._stream.wait_closed(0) or not self._still_running():
                return
            # Docker ends the log a moment before it says that the container has ended.
            self._stream.wait_closed(ENDING_CHECK_S)
        raise StreamBrokenError("it ended while the container runs")

    def close(self) -> None:
        self._stream.close()
