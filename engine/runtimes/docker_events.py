"""Docker's events: which of them are about containers of ours."""

import json
from collections.abc import Callable, Collection, Mapping

EVENTS = ("create", "start", "die", "destroy", "oom", "pause", "unpause", "rename", "restart", "stop")
_LONGEST = 1 << 20
"""Bytes of one event: its container's labels are in it"""


class Events:
    """Takes the stream as it comes: a JSON object a line, cut anywhere."""

    def __init__(self, label: str, adopted: Callable[[], Collection[str]]) -> None:
        """`label`: what all have that were made here. `adopted`: ids of those that are ours without it."""
        self._label = label
        self._adopted = adopted
        self._rest = b""

    def any_of_ours(self, block: bytes) -> bool:
        """Whether one that ends in this block is. What cannot be read may be: a look more is cheaper than one less."""
        *lines, rest = (self._rest + block).split(b"\n")
        self._rest = rest if len(rest) <= _LONGEST else b""
        return any(self._is_ours(line) for line in lines if line.strip())

    def _is_ours(self, line: bytes) -> bool:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return True
        actor = event.get("Actor") if isinstance(event, Mapping) else None
        attributes = actor.get("Attributes") if isinstance(actor, Mapping) else None
        if not isinstance(actor, Mapping) or not isinstance(attributes, Mapping):
            return True
        return self._label in attributes or str(actor.get("ID")) in self._adopted()
