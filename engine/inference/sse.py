"""Server-sent events from raw bytes, bounded, with a sentence for whatever else a server may send."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from engine.inference.channel import PromptFailed
from engine.inference.prompt import Fault
from engine.text import clean_line, mask_secrets

MAX_EVENT = 4 << 20
"""Bytes of one event"""
SHOWN = 120
"""Characters that are shown of what is not understood"""
NO_REASON = "no reason given"
_BLANKS = " \t\n\r"
_decode = json.JSONDecoder().raw_decode
"""Half the time of `json.loads`, which looks for blanks by itself"""
_FIELDS = (b"event:", b"id:", b"retry:", b":")
_MARK = b"\xef\xbb\xbf"
"""Byte order mark, which may stand before the first line"""


class EventReader:
    """Cuts a body into the data of its events. Events may be split between blocks anywhere."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._begun = False
        self._returned = False
        """The last block ended with a carriage return, of whose line break the other half may follow"""

    def feed(self, block: bytes) -> Iterable[bytes]:
        """Raises `PromptFailed` when this is no event stream."""
        if not block:
            return ()
        if self._returned or b"\r" in block:
            block = self._with_line_feeds(block)
        # As servers write them, whole and of one line: these are cut without a look at each line.
        if block.startswith(b"data: ") and block.endswith(b"\n\n") and not self._rest and not self._data:
            events = block[6:-2].split(b"\n\ndata: ")
            if block.count(b"\n") == 2 * len(events):
                return events
        return self._by_lines(block)

    def _with_line_feeds(self, block: bytes) -> bytes:
        """A line may end by CR, too, or by both."""
        if self._returned:
            block = block.removeprefix(b"\n")
        self._returned = block.endswith(b"\r")
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _by_lines(self, block: bytes) -> Iterator[bytes]:
        searched = len(self._rest)
        self._rest += block
        start = 0
        while (end := self._rest.find(b"\n", max(start, searched))) >= 0:
            line = bytes(self._rest[start:end])
            start = end + 1
            if line:
                self._line(line)
            elif self._data:
                yield self._event()
        del self._rest[:start]
        if len(self._rest) + self._size > MAX_EVENT:
            raise PromptFailed(f"The server sent more than {MAX_EVENT >> 20} MiB as one piece of its answer.")

    def end(self) -> Iterator[bytes]:
        """The last event, when its closing empty line never came."""
        if self._rest.strip():
            self._line(bytes(self._rest))
        self._rest.clear()
        if self._data:
            yield self._event()

    def _line(self, line: bytes) -> None:
        if not self._begun:
            self._begun, line = True, line.removeprefix(_MARK)
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            self._size += len(line)
        elif not line.startswith(_FIELDS):
            raise no_events(line)

    def _event(self) -> bytes:
        event = b"\n".join(self._data)
        self._data, self._size = [], 0
        return event


def no_events(data: bytes, content_type: bytes = b"") -> PromptFailed:
    """The failure of an answer that is no event stream: the error that it reports, if it does."""
    with contextlib.suppress(PromptFailed):
        error = error_in(parse_object(data))
        if error is not None:
            return PromptFailed(f"The server reported an error: {error}", fault=Fault.ERROR)
    what = f"{excerpt(content_type, 40)}, which" if content_type else "something that"
    return PromptFailed(f"The server answered with {what} is not an event stream: {excerpt(data, SHOWN)}")


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object; bytes that are no UTF-8 are kept as `surrogateescape` does. Raises `PromptFailed`."""
    text = data.decode("utf-8", "surrogateescape").strip(_BLANKS)
    try:
        value, end = _decode(text)
    except (ValueError, RecursionError):
        value, end = None, 0
    if end != len(text) or not isinstance(value, dict):
        raise PromptFailed(f"The server answered with something that is not a JSON object: {excerpt(data, SHOWN)}")
    return value


def error_in(answer: dict[str, Any]) -> str | None:
    """The server's own word, when the object reports an error."""
    error = answer.get("error")
    if error is None and answer.get("object") == "error":
        error = answer
    if isinstance(error, dict):
        error = error.get("message") or (json.dumps(error) if error else "")
    return excerpt(mask_secrets(str(error))) or NO_REASON if error is not None else None


def error_message(body: bytes) -> str:
    """The word of an error body: JSON, JSON as an event, or whatever it is."""
    text = body.strip().removeprefix(b"data:").strip()
    try:
        answer = parse_object(text)
    except PromptFailed:
        return excerpt(text) or NO_REASON
    return error_in(answer) or excerpt(
        str(answer.get("detail") or answer.get("message") or text.decode(errors="replace"))
    )


def excerpt(text: str | bytes, limit: int = 400) -> str:
    """On one line, cleaned, and cut where it is long."""
    if isinstance(text, bytes):
        text = text[: limit * 4].decode("utf-8", "replace")
    line = clean_line(text[: limit * 4]).strip()
    return line if len(line) <= limit else line[:limit] + "…"
