"""How a line of YAML looks: its keys, its texts and its comments."""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"(?P<comment>(?:^|(?<=\s))#.*)"
    r"|(?P<key>(?:^|(?<=[\s{,]))[A-Za-z_][\w.-]*(?=:(?:\s|$)))"
    r"|(?P<text>\"(?:[^\"\\]|\\.)*\"|'[^']*')"
)


def tokens(line: str) -> Iterator[tuple[str, str]]:
    """Its pieces, in order and complete, each with its kind: comment, key, text, or nothing."""
    end = 0
    for match in _TOKEN.finditer(line):
        if match.start() > end:
            yield line[end : match.start()], ""
        yield match[0], match.lastgroup or ""
        end = match.end()
    if end < len(line):
        yield line[end:], ""
