"""UUIDs of GPUs and MIG instances, told apart from indices and from whatever else a text may hold."""

import re
from collections.abc import Iterable

_HEX = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID = re.compile(rf"GPU-{_HEX}|MIG-{_HEX}|MIG-GPU-{_HEX}/\d+/\d+", re.IGNORECASE)
"""MIG instances have UUIDs of their own since driver R470, and before it the GPU's with the instances' numbers"""
_LISTED = re.compile(r"\(UUID: *([^()\s]+)\)")


def uuids(words: Iterable[str]) -> tuple[str, ...]:
    """The words when each is a UUID; otherwise nothing."""
    found = tuple(words)
    return found if all(map(_UUID.fullmatch, found)) else ()


def listed(text: str) -> tuple[str, ...]:
    """From the output of `nvidia-smi -L`: a GPU that is cut into MIG instances counts as those that are listed."""
    found: list[str] = []
    for line in text.splitlines():
        match = _LISTED.search(line)
        if not match or not uuids([match[1]]):
            continue
        if match[1].startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(match[1])
    return tuple(found)
