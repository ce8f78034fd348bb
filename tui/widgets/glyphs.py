"""Numbers as short text: values with units, bars and sparklines; in plain ASCII where the terminal needs it."""

import sys
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from engine.units import UNKNOWN, scale_for, three_figures, with_unit

__all__ = [
    "UNKNOWN",
    "bar",
    "cut",
    "gib",
    "scale_for",
    "sparkline",
    "terminal_is_plain",
    "three_figures",
    "with_unit",
]

_LEVELS = "▁▂▃▄▅▆▇█"
_PLAIN_LEVELS = "_.-=+*%#"
_EIGHTHS = " ▏▎▍▌▋▊▉"

_GIB = 1 << 30


def terminal_is_plain() -> bool:
    """The terminal's encoding has no block and braille characters."""
    encoding = getattr(sys.__stderr__, "encoding", None) or "ascii"
    return "utf" not in encoding.lower()


def sparkline(values: Sequence[float | None], width: int, top: float, *, plain: bool = False) -> str:
    """The last `width` values as a line of levels between 0 and `top`; a gap is a space."""
    levels = _PLAIN_LEVELS if plain else _LEVELS
    last = len(levels) - 1
    shown = values[-width:] if width > 0 else ()
    line = "".join(
        " " if value is None else levels[min(last, max(0, round(value / top * last)))] if top > 0 else levels[0]
        for value in shown
    )
    return line.rjust(width)


def bar(fraction: float, width: int, *, plain: bool = False) -> str:
    """A bar of `width` cells, exact to an eighth of a cell."""
    eighths = round(min(1.0, max(0.0, fraction)) * width * 8)
    if plain:
        return ("#" * round(eighths / 8)).ljust(width)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


def cut(text: str, width: int) -> str:
    """Exactly `width` cells: filled up, or cut with a sign that it is."""
    if cell_len(text) > width > 0:
        return set_cell_size(f"{set_cell_size(text, width - 1).rstrip()}…", width)
    return set_cell_size(text, width)


def gib(size: int | None, decimals: int = 1) -> str:
    return UNKNOWN if size is None else f"{size / _GIB:.{decimals}f}"
