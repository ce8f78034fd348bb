"""A log that lies in a file or comes through a pipe, as the program wrote it."""

import gzip
import io
import json
import zlib
from collections.abc import Generator, Iterable, Iterator
from itertools import chain

from engine.errors import OperationFailed

BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_DOCKERS_OWN = b'{"log":"'


def blocks_of(file: io.BufferedReader, name: str) -> Generator[bytes, None, None]:
    """Of plain text, gzip, and Docker's own files of JSON, for `engine.diagnose.explain.explain_text`.

    Nothing is kept: a file may be larger than memory. `name`: for messages. Raises `OperationFailed`.
    """
    try:
        # What comes through a pipe can be looked at, and not be rewound.
        if file.peek(len(_GZIP)).startswith(_GZIP):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield from _of_container(_read(unpacked))
        else:
            yield from _of_container(_read(file))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise OperationFailed(f"{name} is compressed, and is not whole: {error}.", "Copy it once more.") from error
    except OSError as error:
        raise OperationFailed(f"{name} cannot be read: {error.strerror or error}.") from error


def _read(file: io.BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    while block := file.read(BLOCK):
        yield block


def _of_container(blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = next(blocks, b"")
    every = chain((head,), blocks)
    return _unwrapped(every) if head.startswith(_DOCKERS_OWN) else every


def _unwrapped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """What the container wrote, from the lines of JSON in which Docker keeps it."""
    held = b""
    for block in blocks:
        *lines, held = (held + block).split(b"\n")
        yield b"".join(map(_message, lines))
    yield _message(held)


def _message(line: bytes) -> bytes:
    try:
        message = json.loads(line)["log"] if line else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        return line + b"\n"
    return message.encode("utf-8", "replace") if isinstance(message, str) else line + b"\n"
