"""Which lines a server's metrics make: ideas matched with the series that it reports."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from engine.metrics_reading import Group
from engine.observe.exposition import Exposition, Slot
from engine.observe.growth import WINDOW_S
from engine.observe.metric_catalog.idea import Idea, Kind, Pick, Split
from engine.text import clean_line

MOST_LABEL_SETS = 12
"""Lines that one pinned family makes"""
MOST_PARTS = 1500
"""Lines of parts, e.g. of models, that one server makes: each is computed, kept and drawn every second"""
MOST_TEXT = 120
"""Characters of a part's name"""
OWN_LABELS = ("model", "model_name")
"""Which model it is; the second is vLLM's own server's spelling"""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Label sets taken together."""

    bounds: tuple[float, ...]
    """The lowest first, up to +Inf"""
    sets: tuple[tuple[int, ...], ...]
    """Of each label set the series' numbers, as many as bounds"""

    def counts(self, values: Sequence[float]) -> Sequence[float]:
        """Those of all label sets added up, by bound; `values`: by a series' number."""
        if len(self.bounds) < 2:
            return ()
        found: list[tuple[float, ...]] = [itemgetter(*numbers)(values) for numbers in self.sets]
        return found[0] if len(found) == 1 else [sum(column) for column in zip(*found, strict=True)]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the view, and the numbers of the series that it is computed from."""

    key: str
    idea: Idea
    title: str
    group: Group
    source: str
    order: tuple[int, str, int, float]
    of: str = ""
    numbers: tuple[int, ...] = ()
    per: tuple[int, ...] = ()
    histogram: Histogram | None = None
    once_counted: bool = False
    """Not shown before one of its counters was not 0"""


@dataclass(frozen=True, slots=True)
class _Match:
    """What a pick found."""

    pick: Pick
    name: str
    numbers: tuple[int, ...]

    @property
    def text(self) -> str:
        """As PromQL writes it."""
        signs = ("=", "=~") if self.pick.only else ("!=", "!~")
        values = self.pick.only or self.pick.but
        return f'{self.name}{{{self.pick.label}{signs[len(values) > 1]}"{"|".join(values)}"}}' if values else self.name


_GROUPS = {group: number for number, group in enumerate(Group)}


class _Index:
    """The series that are there, by name."""

    def __init__(self, exposition: Exposition) -> None:
        self.slots = exposition.slots
        self.scalars: dict[str, list[int]] = {}
        self.buckets: dict[str, list[int]] = {}
        for number in exposition.present:
            slot = self.slots[number]
            (self.scalars if slot.bound is None else self.buckets).setdefault(slot.name, []).append(number)
        self._labels: dict[int, dict[str, str]] = {}

    def labels(self, number: int) -> Mapping[str, str]:
        found = self._labels.get(number)
        if found is None:
            found = self._labels[number] = dict(self.slots[number].labels)
        return found

    def model(self, number: int) -> str:
        labels = self.labels(number)
        return next((labels[label] for label in OWN_LABELS if label in labels), "")

    def match(self, pick: Pick, kind: Kind) -> _Match | None:
        there = self.buckets if kind is Kind.QUANTILE else self.scalars
        for name in (exposed for one in pick.names for exposed in (one, f"{one}_total")):
            if name in there:
                numbers = tuple(number for number in there[name] if pick.takes(self.labels(number)))
                return _Match(pick, name, numbers) if numbers else None
        return None

    def matches(self, picks: Iterable[Pick], kind: Kind) -> list[_Match]:
        return [match for pick in picks if (match := self.match(pick, kind))]


def lines(ideas: Sequence[Idea], exposition: Exposition) -> tuple[Line, ...]:
    """In the order of the view. Of parts there are at most `MOST_PARTS`: with more, those of the first ideas."""
    index = _Index(exposition)
    found: dict[str, Line] = {}
    known: set[str] = set()
    left = MOST_PARTS
    for rank, idea in enumerate(ideas):
        if idea.key in known:
            continue
        for line in _of_idea(idea, rank, index):
            known.add(idea.key)
            if line.key in found or (line.of and not left):
                continue
            found[line.key] = line
            left -= bool(line.of)
    return tuple(sorted(found.values(), key=lambda line: line.order))


def _of_idea(idea: Idea, rank: int, index: _Index) -> Iterator[Line]:
    above = index.matches(idea.picks, idea.kind)
    below = index.matches(idea.per, idea.kind)
    if not above or (idea.per and not below):
        return
    numbers = tuple(number for match in above for number in match.numbers)
    per = tuple(number for match in below for number in match.numbers)
    if idea.kind is Kind.SUMMARY:
        for quantile, ones in _parted(numbers, lambda number: index.labels(number).get("quantile", "")).items():
            yield from _of_quantile(idea, rank, index, above[0].name, quantile, ones)
        return
    source = _source(idea, above, below, len(numbers))
    sets = _differing(numbers, index) if Split.LABELS in idea.split else {}
    if not 1 < len(sets) <= MOST_LABEL_SETS:
        yield _line(idea, rank, index, source, numbers, per)
    else:
        for of, ones in sets.items():
            yield _line(idea, rank, index, source, ones, per, of=of, group=idea.group)
    models = _parted(numbers, index.model)
    per_model = _parted(per, index.model)
    several = len(models) > 1
    if Split.REASON in idea.split:
        for match in above:
            for number in match.numbers:
                reason = match.pick.reason or index.labels(number).get(match.pick.label, "")
                of = f"{index.model(number)} {reason}" if several else reason
                if of:
                    yield _line(idea, rank, index, source, (number,), of=of, group=idea.group, once_counted=True)
    if Split.MODEL in idea.split and several:
        for model, ones in models.items():
            if not idea.per or model in per_model:
                yield _line(idea, rank, index, source, ones, per_model.get(model, ()), of=model, group=Group.MODELS)


def _of_quantile(
    idea: Idea, rank: int, index: _Index, name: str, quantile: str, numbers: tuple[int, ...]
) -> Iterator[Line]:
    """Summaries cannot be taken together, so each label set is a line of its own while they are not too many."""
    if not 0 <= (share := _number(quantile)) <= 1:
        return
    percent = f"p{share * 100:g}"
    source = f"{name}, quantile {quantile} as the server computes it"
    by_model = Split.MODEL in idea.split
    parts = _parted(numbers, index.model) if by_model else _differing(numbers, index, "quantile")
    if not 1 < len(parts) <= MOST_LABEL_SETS:
        parts = {"": numbers}
    for of, ones in parts.items():
        group = Group.MODELS if of and by_model else idea.group
        told = source if len(ones) == 1 else f"{idea.over} of {source}"
        yield _line(idea, rank, index, told, ones, of=of, group=group, part=percent, after=share)


def _line(
    idea: Idea,
    rank: int,
    index: _Index,
    source: str,
    numbers: tuple[int, ...],
    per: tuple[int, ...] = (),
    *,
    of: str = "",
    group: Group | None = None,
    part: str = "",
    after: float = 0.0,
    once_counted: bool = False,
) -> Line:
    shown, group = shortened(clean_line(of), MOST_TEXT), group or idea.group
    key = f"{idea.key}_{part}" if part else idea.key
    return Line(
        key=f"{key}/{shown}" if shown else key,
        idea=idea,
        title=f"{idea.title} {part}" if part else idea.title,
        group=group,
        source=clean_line(source),
        # All of one model together, else all parts of one idea.
        order=(_GROUPS[group], shown if group is Group.MODELS else "", rank, after),
        of=shown,
        numbers=numbers,
        per=per,
        histogram=_histogram(numbers, index.slots) if idea.kind is Kind.QUANTILE else None,
        once_counted=once_counted,
    )


def _histogram(numbers: Iterable[int], slots: Sequence[Slot]) -> Histogram:
    """Where label sets differ in their bounds, those that all have: cumulative counts allow that."""
    sets: dict[tuple[tuple[str, str], ...], dict[float, int]] = {}
    for number in numbers:
        slot = slots[number]
        if slot.bound is not None:
            sets.setdefault(slot.labels, {})[slot.bound] = number
    shared = set.intersection(*(set(buckets) for buckets in sets.values()))
    bounds = tuple(sorted(shared))
    return Histogram(bounds, tuple(tuple(buckets[bound] for bound in bounds) for buckets in sets.values()))


def _parted(numbers: Iterable[int], part: Callable[[int], str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for number in numbers:
        found.setdefault(part(number), []).append(number)
    return {name: tuple(found[name]) for name in sorted(found)}


def _differing(numbers: Sequence[int], index: _Index, but: str = "") -> dict[str, tuple[int, ...]]:
    """By what their labels say, leaving out what all say alike."""
    all_labels = [set(index.labels(number).items()) for number in numbers]
    shared = set.intersection(*all_labels) if all_labels else set()

    def name(number: int) -> str:
        labels = index.labels(number).items()
        return ", ".join(f"{label}={value}" for label, value in labels if (label, value) not in shared and label != but)

    return _parted(numbers, name)


def _source(idea: Idea, above: Sequence[_Match], below: Sequence[_Match], count: int) -> str:
    over = " + ".join(match.text for match in above)
    under = " + ".join(match.text for match in below)
    match idea.kind:
        case Kind.GAUGE if count > 1 and Split.LABELS not in idea.split:
            return f"{idea.over} of {over}"
        case Kind.SHARE:
            return f"{over} of {under}"
        case Kind.RATE:
            return f"rate of {over}"
        case Kind.RATIO:
            return f"increase of {over} per increase of {under}, last {WINDOW_S:g} s"
        case Kind.QUANTILE:
            return f"p{idea.quantile * 100:g} of {over}, last {WINDOW_S:g} s, interpolated in its buckets"
        case Kind.WORD:
            return f"{over}, {' and '.join(idea.labels)}"
    return over


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
