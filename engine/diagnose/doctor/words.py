"""Figures and lists, as they stand in evidence."""

from collections.abc import Iterable, Sequence

_UNITS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
SHOWN = 4


def size(count: float) -> str:
    """Bytes, as `8.5 GiB`."""
    for unit, name in _UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}" if count < 10 * unit else f"{count / unit:.0f} {name}"
    return f"{count:.0f} bytes"


def listed(names: Iterable[object], shown: int = SHOWN) -> str:
    """`a, b, c, d and 3 more`."""
    every = [str(name) for name in names]
    more = f" and {len(every) - shown} more" if len(every) > shown else ""
    return ", ".join(every[:shown]) + more


def gpus(indices: Sequence[int]) -> str:
    return f"GPU {', '.join(map(str, indices))}"


def number(count: int, what: str, many: str = "") -> str:
    """`1 image`, `3 images`."""
    return f"{count} {what if count == 1 else many or what + 's'}"
