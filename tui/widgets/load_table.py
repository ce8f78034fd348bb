"""The levels of a load test as text: a row a level, bars over levels, and all of each. Knows no widget."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from engine.load_plan import Arrival, Level
from engine.load_result import Digest, Failures, LevelResult
from engine.text import clean_line
from tui.widgets.glyphs import bar, with_unit
from tui.widgets.load_inks import Inks
from tui.widgets.load_words import amounts, pair, rate, side_by_side
from tui.widgets.state import NOTICE

GAP = 2
AT_ONCE = "at once"
LEAST_BAR, MOST_BAR = 6, 40
_EXACT = {"mean": "mean", "spread": "±", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "most": "most"}
"""Figures of a distribution, with their heads"""
_BRIEFLY = ("p50", "p95", "p99", "most")
BRIEFLY_BELOW = 76
"""Columns; with fewer the figures would be cut"""


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    cell: Callable[[LevelResult], str]


def level_table(levels: Sequence[LevelResult], width: int, inks: Inks) -> list[Table]:
    """One table, or several below each other where there is no room for all columns."""
    columns = list(_columns(levels))
    alike = len({level.level.arrival for level in levels}) == 1
    head = (AT_ONCE if levels[0].level.arrival is Arrival.CLOSED else "per s") if alike else ""
    names = [_name(level, alone=not alike) for level in levels]
    first = max(cell_len(text) for text in (head, *(f"{name} {NOTICE}" for name in names)))
    wide = {column: max(cell_len(text) for text in (column.title, *map(column.cell, levels))) for column in columns}
    gap = GAP if first + sum(wide.values()) + GAP * len(columns) <= width else 1
    tables: list[Table] = []
    while columns:
        left, taken = width - first, 0
        for column in columns:
            left -= gap + wide[column]
            if left < 0 and taken:
                break
            taken += 1
        tables.append(_table(levels, (head, *names), first, columns[:taken], inks, gap))
        columns = columns[taken:]
    return tables


def _columns(levels: Sequence[LevelResult]) -> Iterator[_Column]:
    yield _Column("done", lambda level: f"{level.done:,}")
    yield _Column("failed", lambda level: f"{level.failed:,}")
    yield _Column("req/s", lambda level: rate(level.requests_per_s))
    yield _Column("tok/s", lambda level: rate(level.output_tokens_per_s))
    yield _Column("TTFT p50/p99", lambda level: pair(level.ttft_intended))
    yield _Column("ITL p50/p99", lambda level: pair(level.itl))
    yield _Column("E2E p50/p99", lambda level: pair(level.e2e_intended))
    if any(level.goodput_per_s is not None for level in levels):
        yield _Column("goodput/s", lambda level: rate(level.goodput_per_s))
    if any(_server_ttft(level) is not None for level in levels):
        yield _Column("TTFT mean/server's", lambda level: side_by_side(level.ttft.mean, _server_ttft(level)))


def _server_ttft(level: LevelResult) -> float | None:
    """Its mean: the server's quantiles are interpolated."""
    return level.server.ttft.mean if level.server else None


def _table(
    levels: Sequence[LevelResult], names: Sequence[str], first: int, columns: Sequence[_Column], inks: Inks, gap: int
) -> Table:
    """`names`: the head of their column, and one for each level; `first`: its width."""
    table = Table.grid(padding=(0, gap, 0, 0))
    table.add_column(no_wrap=True, min_width=first)
    for _ in columns:
        table.add_column(justify="right", no_wrap=True, overflow="ellipsis")
    table.add_row(*(Text(title, style=inks.muted) for title in (names[0], *(column.title for column in columns))))
    for name, level in zip(names[1:], levels, strict=True):
        mark = Text.assemble(name, (f" {NOTICE}", inks.doubt)) if level.doubts else Text(name)
        cells = []
        for column in columns:
            bad = column.title == "failed" and level.failed
            cells.append(Text(column.cell(level), style=inks.failed if bad else ""))
        table.add_row(mark, *cells)
    return table


def _name(level: LevelResult, *, alone: bool = True) -> str:
    """`alone`: nothing above says of what it is an amount."""
    words = level.level.words if alone else f"{level.level.amount:g}"
    return f"{words} ({level.repeat + 1})" if level.repeat else words


def level_bars(levels: Sequence[LevelResult], width: int, inks: Inks, *, plain: bool) -> Table | None:
    """Output and TTFT over the levels, the mean of repeats; None where there is nothing to compare, or no room."""
    of_level: dict[Level, list[LevelResult]] = {}
    for level in levels:
        of_level.setdefault(level.level, []).append(level)
    if len(of_level) < 2:
        return None
    high = "p99" if all(one.ttft_intended.p99 is not None for one in levels) else "p95"
    rows = [
        (
            level.words,
            _mean([one.output_tokens_per_s for one in found]),
            _mean([one.ttft_intended.p50 for one in found]),
            _mean([getattr(one.ttft_intended, high) for one in found]),
        )
        for level, found in of_level.items()
    ]
    most_out = max((out for _, out, _, _ in rows if out is not None), default=0.0)
    most_s = max((late or early or 0.0 for _, _, early, late in rows), default=0.0)
    outs = [rate(out) for _, out, _, _ in rows]
    waits = [pair(Digest(p50=early, p99=late)) for _, _, early, late in rows]
    texts = [max(cell_len(text) for text in column) for column in ([row[0] for row in rows], outs, waits)]
    cells = min(MOST_BAR, (width - sum(texts) - 4 * GAP) // 2)
    if cells < LEAST_BAR:
        return None
    table = Table.grid(padding=(0, GAP, 0, 0))
    for justify in ("left", "left", "right", "left", "right"):
        table.add_column(justify=justify, no_wrap=True)
    heads = ("", "output, tok/s", "", f"TTFT, p50 and to {high}", "")
    table.add_row(
        *(Text(head if cell_len(head) <= cells else head.partition(",")[0], style=inks.muted) for head in heads)
    )
    for (words, out, early, late), said, waited in zip(rows, outs, waits, strict=True):
        wait = _two_part(early, late, most_s, cells, inks, plain=plain)
        table.add_row(words, Text(_bar(out, most_out, cells, plain=plain), style=inks.bar), said, wait, waited)
    return table


def _two_part(low: float | None, high: float | None, most: float, cells: int, inks: Inks, *, plain: bool) -> Text:
    """In whole cells: where the one ends the other begins."""
    solid, reach = (round(value / most * cells) if value and most > 0 else 0 for value in (low, high))
    return Text.assemble(
        (("#" if plain else "█") * solid, inks.bar), (("-" if plain else "░") * max(0, reach - solid), inks.tail)
    )


def _bar(value: float | None, most: float, cells: int, *, plain: bool) -> str:
    return bar(value / most, cells, plain=plain) if value is not None and most > 0 else " " * cells


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def level_details(level: LevelResult, width: int, inks: Inks) -> Table:
    """Every distribution of one level, the server's own beside."""
    shown = _BRIEFLY if width < BRIEFLY_BELOW else tuple(_EXACT)
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(no_wrap=True)
    for _ in range(len(shown) + 2):
        table.add_column(justify="right", no_wrap=True)
    titles = (_name(level), *(_EXACT[name] for name in shown), "", "n")
    table.add_row(Text(titles[0], style="bold"), *(Text(title, style=inks.muted) for title in titles[1:]))
    found: list[tuple[str, Digest]] = [("TTFT", level.ttft_intended), ("ITL", level.itl), ("gap", level.gap)]
    found.append(("E2E", level.e2e_intended))
    if level.level.arrival is not Arrival.CLOSED:
        found += [("TTFT from sending", level.ttft), ("E2E from sending", level.e2e)]
        found.append(("sent late by", level.generator.late))
    if server := level.server:
        found += [("server TTFT", server.ttft), ("server ITL", server.itl), ("server E2E", server.e2e)]
        found.append(("server queue", server.queue))
    found.append(("client woke late by", level.generator.lag))
    for title, digest in found:
        if digest.n or digest.mean is not None:
            table.add_row(title, *amounts(digest, *shown), f"{digest.n:,}")
    return table


def level_facts(level: LevelResult) -> str:
    """What is no distribution."""
    tokens = f"{level.tokens_in:,} tokens in, {level.tokens_out:,} out in {with_unit(level.seconds, 's')}"
    parts = [tokens]
    if level.not_sent:
        parts.append(f"{level.not_sent:,} not sent")
    if level.good is not None:
        parts.append(f"{level.good:,} of {level.done + level.failed:,} good")
    if level.generator.cpu is not None:
        parts.append(f"client used {level.generator.cpu * 100:.0f} % of a core")
    server = level.server
    if server and server.requests is not None:
        out = "" if server.tokens_out is None else f", {server.tokens_out:,.0f} tokens out"
        parts.append(f"server counted {server.requests:,.0f} requests{out}")
    return " · ".join(parts)


def failure_lines(failures: Sequence[Failures]) -> list[str]:
    return [f"▲ {one.count:,} × {one.fault.value}: {clean_line(one.example)}" for one in failures]
