"""How the commands speak: facts to standard output, talk and progress to standard error."""

import difflib
import json
import math
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from engine.inference.prompt import PromptOutcome, PromptResult, Timing
from tui.widgets.glyphs import UNKNOWN, with_unit

if TYPE_CHECKING:
    from engine.load_result import Digest

JsonFields = Mapping[str, Any]
HISTORIES = frozenset({"history", "times", "values"})
"""Fields that only a console has enough samples for"""


def talk(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def print_json(value: JsonFields, *, indent: int | None = 2) -> None:
    print(json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False), flush=indent is None)


def plain(value: object) -> Any:
    """What JSON can say of a dataclass: enums by their values, no histories, and null for a number that is none."""
    if is_dataclass(value):
        names = (field.name for field in fields(value))
        return {name: plain(getattr(value, name)) for name in names if name not in HISTORIES}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """As `table`; on a terminal, what does not fit in its width is cut off."""
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for text in table(header, rows):
        print(text if limit is None else shortened(text, limit))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """One line for the header and each row, with columns aligned to the left."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def fitted(lines: Sequence[str], columns: int, rows: int) -> list[str]:
    """For a terminal: what does not fit in its width is cut off, and of what does not fit in its height it is said."""
    room = rows - 1
    more = len(lines) - room + 1
    shown = lines if more <= 1 else [*lines[: room - 1], f"… {more} more lines than have room"]
    return [shortened(line, columns) for line in shown]


def shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """One fact a line, the empty ones left out."""
    width = max(len(title) for title, _ in facts)
    for title, text in facts:
        if text:
            print(f"{title.ljust(width)}  {text}")


def timing_line(result: PromptResult) -> str:
    """How long a prompt took and why it ended; docs/prompts.md defines each figure."""
    timing, between = result.timing, gaps(result)
    p99 = f", p99 {_ms(between.p99)}" if between.p99 is not None else ""
    first, rate, count = "first token", timing.tokens_per_s, _tokens(timing)
    if result.request.tensors is not None:
        first, rate, count = "first outputs", None, f"responses {timing.tokens_out}" if timing.tokens_out else ""
    parts = [
        f"connected in {_ms(timing.connected_s)}" if timing.connected_s is not None else "",
        f"first byte {_ms(timing.first_byte_s)}" if timing.first_byte_s is not None else "",
        f"{first} {_ms(timing.first_token_s)}" if timing.first_token_s is not None else "",
        f"gaps p50 {_ms(between.p50)}{p99}, longest {_ms(between.most)}" if between.n else "",
        with_unit(rate, "tokens/s") if rate is not None else "",
        f"{_ms(timing.total_s)} in all" if timing.total_s is not None else "",
        count,
        f"times up to {_ms(timing.late_s)} late, as this machine was busy" if timing.late_s is not None else "",
        _ending(result),
    ]
    return " · ".join(part for part in parts if part)


def _tokens(timing: Timing) -> str:
    ways = ((timing.tokens_in, "in"), (timing.tokens_out, "out"))
    said = ", ".join(f"{count} {way}" for count, way in ways if count is not None)
    return f"tokens {said} (counted by {timing.token_source})" if said else ""


def gaps(result: PromptResult) -> "Digest":
    """Of the times between successive pieces of text, in seconds."""
    from engine.load.statistics import digest

    return digest(result.gaps_s)


def _ending(result: PromptResult) -> str:
    match result.outcome:
        case PromptOutcome.CANCELLED:
            return "cancelled"
        case PromptOutcome.FAILED:
            return f"failed: {result.fault}" if result.fault else "failed"
    return f"ended by {result.ended_by}" if result.ended_by else ""


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{seconds:.2f} s" if seconds >= 0.9995 else f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"


def moment(at: float) -> str:
    """Local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def near(name: str, names: Iterable[str]) -> str:
    """`Did you mean demo?`, or nothing."""
    found = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {found[0]}?" if found else ""


def names(what: str) -> list[str]:
    """The deployments in `swap mixtral, demo → llama3-70b`, and what stands between them."""
    return what.replace(",", " ").split()[1:]
