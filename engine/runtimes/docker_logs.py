"""A container's log as Docker sends it: frames of standard output and error, put together into one stream of lines."""

import struct
from collections.abc import Callable, Iterator

from engine.errors import RuntimeUnreachable
from engine.runtimes.docker_stream import DockerStream, StreamBrokenError
from engine.text import clean

SILENCE_S = 10.0
ENDING_CHECK_S = 0.1
ENDING_CHECKS = 20
HEADER = struct.Struct(">BxxxL")
STAMP_BYTES = 31
"""RFC 3339 with nine decimals, and a space"""
SYSTEM_ERROR = 3
LONGEST_FRAME = 1 << 26
NEWLINE = 0x0A


class LogCorruptError(Exception):
    """What came is not what Docker sends, or says that Docker cannot read the log."""


class Demultiplexer:
    """Frames in, lines with their times out. A frame is one line, or 16 KiB of a longer one with a time of its own."""

    def __init__(self) -> None:
        self._rest = b""
        self._unfinished = 0
        """The stream whose last frame did not end its line; 0 for none"""

    def feed(self, data: bytes) -> bytes:
        """Raises `LogCorruptError`."""
        if self._rest:
            data = self._rest + data
        pieces: list[bytes] = []
        position, length = 0, len(data)
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
            if self._unfinished == stream:
                begin += STAMP_BYTES
            elif self._unfinished:
                pieces.append(b"\n")
            pieces.append(data[begin:end])
            self._unfinished = 0 if data[end - 1] == NEWLINE else stream
        self._rest = data[position:]
        return b"".join(pieces)


class DockerLog:
    """An open log; see `LogSource`. `still_running` says whether more can come, and raises what runtimes raise."""

    def __init__(self, name: str, stream: DockerStream, *, follow: bool, still_running: Callable[[], bool]) -> None:
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
        frames = Demultiplexer()
        over = False
        while (body := self._stream.read(SILENCE_S)) is not None:
            if body:
                over = False
                if block := frames.feed(body):
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
