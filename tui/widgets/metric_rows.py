"""The lines of the metrics view: the quantiles of one idea as one line, grouped by what they are about."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from engine.metrics_reading import Group, Series
from tui.widgets.glyphs import UNKNOWN, scale_for, three_figures, with_unit

_QUANTILE = re.compile(r"(?P<idea>.+) p(?P<of_100>\d+(?:\.\d+)?)")
BETWEEN = " / "


@dataclass(frozen=True, slots=True)
class Heading:
    """What the lines below it are about; no place for the cursor."""

    title: str
    note: str = ""
    """What the values below it are"""
    depth: int = 0


@dataclass(frozen=True, slots=True)
class MetricRow:
    title: str
    series: tuple[Series, ...]
    """One, or the quantiles of one idea, the lowest first"""
    depth: int = 0

    @property
    def key(self) -> str:
        """Stable, and of this row alone."""
        return self.series[0].key

    @property
    def name(self) -> str:
        """What it is called where no heading stands above it."""
        first = self.series[0]
        idea = _idea(first) if len(self.series) > 1 else first.title
        return f"{idea} · {first.of}" if first.of else idea

    @property
    def quantiles(self) -> str:
        """E.g. `p50 / p90 / p99`; empty for one value."""
        found = [_QUANTILE.fullmatch(one.title) for one in self.series]
        return BETWEEN.join(f"p{match['of_100']}" for match in found if match) if len(found) > 1 else ""

    @property
    def value(self) -> str:
        return amounts(self.series)

    @property
    def source(self) -> str:
        """Of quantiles, which differ in nothing else, of all."""
        first = self.series[0]
        lowest, of, rest = first.source.partition(" of ")
        return f"{_short(self.quantiles)}{of}{rest}" if lowest and lowest == self._lowest else first.source

    @property
    def _lowest(self) -> str:
        return self.quantiles.partition(BETWEEN)[0]


Line = Heading | MetricRow


def amounts(series: Sequence[Series]) -> str:
    """The values in one unit, with what can be said of each; the words of a series that is no number."""
    if len(series) == 1:
        only = series[0]
        return only.word or f"{only.bound.value if only.value is not None else ''}{with_unit(only.value, only.unit)}"
    known = [abs(one.value) for one in series if one.value is not None]
    if not known:
        return UNKNOWN
    divisor, unit = scale_for(max(known), series[0].unit)
    texts = (
        UNKNOWN if one.value is None else f"{one.bound.value}{three_figures(one.value / divisor)}" for one in series
    )
    return f"{BETWEEN.join(texts)} {unit}".rstrip()


def metric_lines(series: Iterable[Series], *, compact: bool, headings: bool) -> list[Line]:
    """In the order of the groups. `compact`: the quantiles of one idea on one line. Without `headings` there are only
    rows, and each says by itself what it is."""
    every = tuple(series)
    lines: list[Line] = []
    for group in Group:
        members = [one for one in every if one.group is group]
        if not members:
            continue
        rows = list(_rows(members, compact=compact))
        if not headings:
            lines += [MetricRow(_alone(row), row.series) for row in rows]
            continue
        notes = {row.quantiles for row in rows if row.quantiles}
        alike = len(notes) == 1
        lines.append(Heading(group.value.capitalize(), notes.pop() if alike else ""))
        if not alike:
            rows = [MetricRow(_with_quantiles(row), row.series) for row in rows]
        lines += _by_owner(rows) if group is Group.MODELS else _by_idea(rows)
    return lines


def _rows(members: Sequence[Series], *, compact: bool) -> Iterator[MetricRow]:
    """Those of one idea and of the same one become one row, where the first of them stands."""
    ideas: dict[tuple[str, str], list[Series]] = {}
    for one in members:
        ideas.setdefault((_idea(one) if compact else one.key, one.of), []).append(one)
    for (idea, _), found in ideas.items():
        yield MetricRow(idea if len(found) > 1 else found[0].title, tuple(found))


def _by_owner(rows: Sequence[MetricRow]) -> Iterator[Line]:
    """All of one model together."""
    owners = dict.fromkeys(row.series[0].of for row in rows)
    for owner in owners:
        if owner:
            yield Heading(owner, depth=1)
        for row in rows:
            if row.series[0].of == owner:
                yield MetricRow(row.title, row.series, depth=1 if owner else 0)


def _by_idea(rows: Sequence[MetricRow]) -> Iterator[Line]:
    """One idea of several ones: those below the sum of them, or below a heading."""
    ideas = dict.fromkeys(row.title for row in rows)
    for idea in ideas:
        alike = sorted((row for row in rows if row.title == idea), key=lambda row: bool(row.series[0].of))
        if len(alike) == 1:
            yield MetricRow(f"{idea} · {of}" if (of := alike[0].series[0].of) else idea, alike[0].series)
            continue
        if alike[0].series[0].of:
            yield Heading(idea, depth=1)
        for owner, of_it in groupby(alike, lambda row: row.series[0].of):
            for row in of_it:
                yield MetricRow(owner or idea, row.series, depth=1 if owner else 0)


def _idea(series: Series) -> str:
    match = _QUANTILE.fullmatch(series.title)
    return match["idea"] if match else series.title


def _short(quantiles: str) -> str:
    """E.g. `p50/90/99`"""
    return quantiles.replace(f"{BETWEEN}p", "/")


def _with_quantiles(row: MetricRow) -> str:
    short = _short(row.quantiles)
    return f"{row.title} {short}" if short else row.title


def _alone(row: MetricRow) -> str:
    of = row.series[0].of
    return f"{_with_quantiles(row)} · {of}" if of else _with_quantiles(row)
