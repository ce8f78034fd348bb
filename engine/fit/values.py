"""Numbers in what others wrote: a model's files, an engine's options. What makes no sense counts as absent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 1 << 30
LARGEST = 1 << 60
_HUMAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgGtT]?)\s*", re.ASCII)
_HUMAN_TIMES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes, from the least to the most."""

    low: int
    high: int

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)


NOTHING = Range(0, 0)


def whole(data: Mapping[str, Any], *names: str, top: int = 1 << 40) -> int | None:
    """The first of these that is a whole number from 1 to `top`; of a list with one a layer, the largest."""
    for name in names:
        value = data.get(name)
        if isinstance(value, list):
            numbers = [one for one in value if isinstance(one, int) and not isinstance(one, bool)]
            value = max(numbers, default=None)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= top:
            return value
    return None


def flag(data: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = data.get(name)
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "yes")
    return value if isinstance(value, bool) else default


def block(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """An option's number as vLLM reads it: also text, and `32k` (thousands) or `32K` (1024s). At least 0."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value) if 0 <= value <= LARGEST else None
    match = _HUMAN.fullmatch(value[:40]) if isinstance(value, str) else None
    if not match:
        return None
    found = float(match[1]) * _HUMAN_TIMES[match[2]]
    return found if found <= LARGEST else None


def count(value: object) -> int | None:
    """A whole number from 1."""
    found = number(value)
    return int(found) if found is not None and found >= 1 else None


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if abs(size) >= GIB / 10 else f"{size / (1 << 20):.0f} MiB"


def grouped(amount: int) -> str:
    """131072 as 131 072."""
    return f"{amount:,}".replace(",", " ")
