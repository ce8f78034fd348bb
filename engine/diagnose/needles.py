"""Many strings looked for at once in blocks of bytes, at the speed of C.

Each string is known by a part of it, its anchor; all anchors are one regular expression in the shape of a trie. The
`re` module skips ahead to the next byte with which one begins, and decides there by one look at each further byte. So
anchors begin with few different bytes, and with such as are rare in logs.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Set

_BY_FREQUENCY = b" -etonr1ia0s:.2lpcg/uh3,dmvPO5T'_FI\"4^yNAS9fkM7K6C]=()G|bqHEL[%RVx8+WUwDzBQ`{}*\\X<jYJ>;?Z\n"
"""Bytes from the commonest to the rarest, as counted over the start-up logs, statistics and access logs of servers"""
_COMMON = {byte: len(_BY_FREQUENCY) - rank for rank, byte in enumerate(_BY_FREQUENCY)}
_LEAST = 5
"""Bytes of an anchor, unless the string is shorter"""

_Trie = dict[int, "_Trie"]
Search = Callable[[bytes, int, int], re.Match[bytes] | None]
"""In a block, from a place to another"""


class Needles:
    """`search` finds the next anchor; `strings[anchor]` are the strings that it may be part of."""

    def __init__(self, strings: Collection[str]) -> None:
        wanted = {string: string.encode("ascii") for string in strings}
        firsts = _few([{whole[start] for start in _starts(whole)} for whole in wanted.values()])
        anchors = {string: _anchor(whole, firsts) for string, whole in wanted.items()}
        # One that begins with another is found where the other is.
        ends: set[bytes] = set()
        for anchor in sorted(set(anchors.values()), key=len):
            if not any(anchor.startswith(end) for end in ends):
                ends.add(anchor)
        found: dict[bytes, list[str]] = {end: [] for end in ends}
        for string, anchor in anchors.items():
            found[next(end for end in ends if anchor.startswith(end))].append(string)
        self.strings: Mapping[bytes, tuple[str, ...]] = {end: tuple(those) for end, those in found.items()}
        self.search = self.without(frozenset())

    def without(self, anchors: Set[bytes]) -> Search:
        """As `search`, for the others."""
        return re.compile(_expression(_trie(self.strings.keys() - anchors))).search


def _starts(string: bytes) -> range:
    return range(max(len(string) - _LEAST, 0) + 1)


def _few(choices: list[set[int]]) -> set[int]:
    """Bytes of which every choice has one: the commonest are left out first."""
    few = set[int]().union(*choices)
    for byte in sorted(few, key=lambda byte: -_COMMON.get(byte, 0)):
        if all(choice & few != {byte} for choice in choices):
            few.discard(byte)
    return few


def _anchor(string: bytes, firsts: set[int]) -> bytes:
    def common(start: int) -> int:
        return _COMMON.get(string[start], 0) * _COMMON.get(string[start + 1], 0)

    return string[min((start for start in _starts(string) if string[start] in firsts), key=common) :]


def _trie(words: Iterable[bytes]) -> _Trie:
    root: _Trie = {}
    for word in words:
        node = root
        for byte in word:
            node = node.setdefault(byte, {})
    return root


def _expression(node: _Trie) -> bytes:
    branches = [re.escape(bytes([byte])) + _expression(node[byte]) for byte in sorted(node)]
    return branches[0] if len(branches) == 1 else b"(?:" + b"|".join(branches) + b")" if branches else b""
