"""A load test as a drawing: throughput against latency over its levels, in plain SVG."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from statistics import fmean

from engine.load.report import figure
from engine.load_plan import Arrival, Level
from engine.load_result import LevelResult, LoadResult
from engine.text import clean_line

WIDTH, HEIGHT = 960, 420
_TOP, _LEFT, _PANEL_WIDTH, _PANEL_HEIGHT, _PITCH = 92, 66, 390, 236, 476
_TEXT, _PALE, _GRID = "#1f2937", "#6b7280", "#e5e7eb"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_ROOM = WIDTH - 2 * _LEFT
_LETTER = 0.55
"""Of a font's size: the width of a usual letter"""
_LOGARITHMIC_FROM = 30
"""Times that the largest value is the least: on an even scale the least would not be seen"""


@dataclass(frozen=True, slots=True)
class Curve:
    title: str
    colour: str
    figure: Callable[[LevelResult], float | None]
    """In seconds"""


@dataclass(frozen=True, slots=True)
class _Point:
    level: Level
    x: float
    y: float


_PANELS: tuple[tuple[str, tuple[Curve, ...]], ...] = (
    (
        "Time to first token",
        (
            Curve("p50", "#2563eb", lambda one: one.ttft_intended.p50),
            Curve("p99", "#c2410c", lambda one: one.ttft_intended.p99),
        ),
    ),
    (
        "Time between tokens",
        (Curve("p50", "#2563eb", lambda one: one.itl.p50), Curve("p99", "#c2410c", lambda one: one.itl.p99)),
    ),
)


def svg(result: LoadResult) -> str:
    """A whole document. Each point is a level, the mean of its repeats, which are the pale dots about it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="{_FONT}" font-size="12" fill="{_TEXT}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n' + "\n".join(_parts(result)) + "\n</svg>\n"
    )


def _parts(result: LoadResult) -> Iterator[str]:
    yield _words(_LEFT, 30, f"{result.deployment}: throughput against latency", size=17, weight=600)
    sent = {True: "requests at once", False: "requests per second"}
    kinds = dict.fromkeys(sent[one.level.arrival is Arrival.CLOSED] for one in result.levels)
    known = (result.model, result.what, result.transport, result.machine and f"client {result.machine}")
    yield _words(_LEFT, 50, " · ".join(text for text in known if text), colour=_PALE)
    for place, (title, curves) in enumerate(_PANELS):
        yield from _panel(_LEFT + place * _PITCH, title, curves, result)
    told = f"Each point is a level, marked with its {' or '.join(kinds)}. " if kinds else "Nothing was measured. "
    doubted = sum(bool(one.doubts) for one in result.levels)
    if doubted:
        told += f"{doubted} of {len(result.levels)} levels are in doubt; hollow points are."
    yield _words(_LEFT, HEIGHT - 16, told, colour=_PALE)


def _panel(left: float, title: str, curves: Sequence[Curve], result: LoadResult) -> Iterator[str]:
    bottom, right = _TOP + _PANEL_HEIGHT, left + _PANEL_WIDTH
    singles = [[_at(one, curve) for one in result.levels] for curve in curves]
    points = [[point for point in row if point] for row in singles]
    unit, scale = ("s", 1.0) if max((one.y for row in points for one in row), default=0.0) >= 1 else ("ms", 1000.0)
    across = _Axis.over([one.x for row in points for one in row], left, right)
    up = _Axis.over([one.y * scale for row in points for one in row], bottom, _TOP)
    yield _words(left, _TOP - 14, f"{title}, {unit}{', logarithmic' if up.logarithmic else ''}", weight=600)
    for value in up.ticks:
        yield _line(left, up.place(value), right, up.place(value), _GRID)
        yield _words(left - 8, up.place(value) + 4, _short(value), anchor="end", colour=_PALE)
    for value in across.ticks:
        yield _line(across.place(value), bottom, across.place(value), bottom + 4, _PALE)
        yield _words(across.place(value), bottom + 18, _short(value), anchor="middle", colour=_PALE)
    yield _line(left, bottom, right, bottom, _PALE)
    yield _words(right, bottom + 36, "output tokens/s", anchor="end", colour=_PALE)
    doubted = {one.level for one in result.levels if one.doubts}
    for place, (curve, row) in enumerate(zip(curves, points, strict=True)):
        at = [(one, across.place(one.x), up.place(one.y * scale)) for one in row]
        if len(row) > len({one.level for one in row}):
            for _, x, y in at:
                yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{curve.colour}" fill-opacity="0.35"/>'
        means = [(one, across.place(one.x), up.place(one.y * scale)) for one in _means(row)]
        if len(means) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for _, x, y in means)
            yield f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="2"/>'
        for one, x, y in means:
            fill = "#ffffff" if one.level in doubted else curve.colour
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{fill}" stroke="{curve.colour}" stroke-width="2"/>'
            if place == 0:
                yield _words(x, y + 18, f"{one.level.amount:g}", anchor="middle", colour=_PALE, size=11)
        key = right - 96 + 56 * place
        yield f'<circle cx="{key}" cy="{_TOP - 18}" r="4" fill="{curve.colour}"/>'
        yield _words(key + 9, _TOP - 14, curve.title)
        if not row:
            told = f"{curve.title}: too few values" if singles[place] else ""
            yield _words((left + right) / 2, _TOP + 18 + 18 * place, told, anchor="middle", colour=_PALE)


def _at(one: LevelResult, curve: Curve) -> _Point | None:
    value = curve.figure(one)
    return None if value is None else _Point(one.level, one.output_tokens_per_s, value)


def _means(points: Sequence[_Point]) -> list[_Point]:
    """Of each level, in the order of the test."""
    levels = {one.level: [other for other in points if other.level == one.level] for one in points}
    return [
        _Point(level, fmean(one.x for one in repeats), fmean(one.y for one in repeats))
        for level, repeats in levels.items()
    ]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Values between two places of the drawing."""

    ticks: tuple[float, ...]
    since: float
    until: float
    logarithmic: bool = False

    @classmethod
    def over(cls, values: Sequence[float], since: float, until: float) -> "_Axis":
        """From 0, or from the least where they differ by too much, to a round number beyond the largest."""
        most = max(values, default=0.0) or 1.0
        least = min((value for value in values if value > 0), default=most)
        if most / least >= _LOGARITHMIC_FROM and all(value > 0 for value in values):
            first, last = math.floor(math.log10(least)), math.ceil(math.log10(most) - 1e-9)
            return cls(tuple(10.0**power for power in range(first, last + 1)), since, until, logarithmic=True)
        step = next(size for size in _round_steps(most / 5))
        return cls(tuple(step * place for place in range(math.ceil(most * 1.02 / step) + 1)), since, until)

    def place(self, value: float) -> float:
        first, last = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            value, first, last = math.log10(value), math.log10(first), math.log10(last)
        return self.since + (value - first) / (last - first) * (self.until - self.since)


def _round_steps(least: float) -> Iterator[float]:
    """1, 2 and 5 times a power of ten, from `least` on."""
    power = 10.0 ** math.floor(math.log10(least))
    return (factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def _short(value: float) -> str:
    if 0 < value < 0.1:  # of a logarithmic axis: 0.01 is no 0
        return f"{value:g}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else figure(value).rstrip("0").rstrip(".")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _words(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = _TEXT, size: int = 12, weight: int = 400
) -> str:
    shown, most = clean_line(text), int(_ROOM / (size * _LETTER))
    shown = shown if len(shown) <= most else f"{shown[: most - 1]}…"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}" '
        f'font-weight="{weight}">{escape(shown)}</text>'
    )
