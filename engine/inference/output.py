"""Model output as it may be shown: characters made whole, terminal sequences removed, and bounded."""

import codecs
import re

from engine.text import clean

MAX_CHARACTERS = 1 << 20
"""Of one answer; about 250 000 tokens"""
MAX_HELD = 4096
"""Of an unfinished escape sequence; what is longer is taken for text"""

# A sequence that has begun and may end in the next chunk. Control strings never cross a line, as in clean().
_UNFINISHED = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*\Z"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*\x1b?\Z"
    r"|\x1b[ -/]*\Z"
)


class Output:
    """Cleans a stream piece by piece; nothing of a sequence or character that is cut between pieces gets through."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._pieces: list[str] = []
        self._length = 0

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def full(self) -> bool:
        return self._length >= MAX_CHARACTERS

    def feed(self, data: bytes) -> str:
        """The text that can be shown now, perhaps none."""
        return self._take(self._held + self._decoder.decode(data))

    def end(self) -> str:
        """What was held back; nothing follows."""
        text, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return self._keep(clean(text))

    def _take(self, text: str) -> str:
        unfinished = _UNFINISHED.search(text)
        cut = unfinished.start() if unfinished and len(text) - unfinished.start() <= MAX_HELD else len(text)
        self._held = text[cut:]
        return self._keep(clean(text[:cut]))

    def _keep(self, text: str) -> str:
        text = text[: MAX_CHARACTERS - self._length]
        if text:
            self._pieces.append(text)
            self._length += len(text)
        return text
