"""Reads a log from one end to the other, for scripts and for messages."""

import re
from collections.abc import Generator

from engine.errors import EngineError
from engine.log_line import LogLine
from engine.observe.log_lines import LineAssembler, read_line
from engine.observe.log_words import LineReader
from engine.runtimes.base import Runtime
from engine.secrets import Masker

LAST_LINES = 60
MAX_SHOWN = 300
_ERROR = re.compile(r"\berror\b|\bfatal\b|exception:|^E\d{4} ", re.IGNORECASE)


def read_lines(
    runtime: Runtime, name: str, *, tail: int | None, follow: bool, since: float | None = None
) -> Generator[LogLine, None, None]:
    """Lines as they come; closing the generator closes the log. Raises `EngineError`."""
    source = runtime.logs(name, tail=tail, follow=follow, since=since)
    assembler = LineAssembler(Masker(source.secrets))
    reader = LineReader()
    seq = 0
    try:
        for block in source:
            for line in assembler.feed(block):
                yield read_line(seq, line, reader)
                seq += 1
        for line in assembler.flush():
            yield read_line(seq, line, reader)
            seq += 1
    finally:
        source.close()


def last_words(runtime: Runtime, name: str) -> str:
    """The last line that speaks of an error, or else the last line; empty when the log cannot be read."""
    try:
        lines = [line.text.strip(" +-|") for line in read_lines(runtime, name, tail=LAST_LINES, follow=False)]
    except EngineError:
        return ""
    spoken = [line for line in lines if line]
    telling = [line for line in spoken if _ERROR.search(line)]
    words = (telling or spoken or [""])[-1]
    return words if len(words) <= MAX_SHOWN else words[:MAX_SHOWN] + "…"
