"""Reads the Prometheus text format, again and again from the same server, at little cost."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress
from operator import ne

Labels = tuple[tuple[str, str], ...]

MOST_KNOWN_LINES = 100_000
MOST_KNOWN_CHARACTERS = 1 << 24
"""Both of what is remembered between scrapes: a server may give its series other labels with each"""
LONGEST_LINE = 1 << 16
UNWANTED = -1
NO_SAMPLE = "\n"
"""What no line begins with"""
HELP = "# HELP "
"""What a family begins with, as servers write it"""
_NAME = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t{]")
_WITH_EXEMPLAR = re.compile(
    r'([^{\s]*(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*+")*+\})?[ \t]+[^\s#]++(?:[ \t]+[^\s#]++)?)[ \t]+# \{'
)
"""Of OpenMetrics; its first part is the sample"""


class ExpositionError(ValueError):
    """The text is something else; `line` says where that shows, counted from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is no Prometheus sample")
        self.line = line


@dataclass(frozen=True, slots=True)
class Slot:
    """A known series: one value of each scrape that has it."""

    name: str
    """As exposed; a bucket's without `_bucket`"""
    labels: Labels
    """A bucket's without `le`"""
    bound: float | None = None
    """A bucket's upper bound"""


@dataclass(frozen=True, slots=True)
class Exposition:
    """The wanted part of one scrape. Series are numbered; a number means the same as long as `slots` is the same."""

    slots: Sequence[Slot]
    """All that were ever seen, by number"""
    values: Sequence[float]
    """By number; of those that are not present any more what they were last"""
    present: tuple[int, ...]
    """The same object as long as the same series are there"""
    changed: Sequence[int]
    """Those whose value may differ from the last scrape's"""

    @property
    def scalars(self) -> Mapping[str, Mapping[Labels, float]]:
        """Values by exposed name and labels."""
        found: dict[str, dict[Labels, float]] = defaultdict(dict)
        for number in self.present:
            slot = self.slots[number]
            if slot.bound is None:
                found[slot.name][slot.labels] = self.values[number]
        return found

    @property
    def buckets(self) -> Mapping[str, Mapping[Labels, Mapping[float, float]]]:
        """Cumulative counts by family, labels and upper bound."""
        found: dict[str, dict[Labels, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
        for number in self.present:
            slot = self.slots[number]
            if slot.bound is not None:
                found[slot.name][slot.labels][slot.bound] = self.values[number]
        return found

    def scalar(self, families: Iterable[str]) -> str | None:
        """The exposed name of the first family that is there; counters may carry `_total` or not."""
        there = self.scalars
        return next((name for family in families for name in (family, f"{family}_total") if name in there), None)


class ExpositionReader:
    """Compares each scrape with the one before it: where only numbers changed, only those are read.

    Families are compared first, and their lines where they differ: most of what a server says stays the same.
    """

    def __init__(self, wanted: frozenset[str]) -> None:
        """`wanted`: names of families, without `_total` and `_bucket`."""
        self._wanted = wanted
        self._known_characters = 0
        self._known: dict[str, int] = {}
        """By a line's text up to its value; `UNWANTED` when nobody asked for it"""
        self._slots: list[Slot] = []
        self._numbers: dict[Slot, int] = {}
        self._values: list[float] = []
        self._present: tuple[int, ...] = ()
        self._parts: list[str] = []
        """The last exposition, parted before each family"""
        self._firsts: list[int] = []
        """The number of each part's first line, and of the line after the last one's"""
        self._lines: list[str] = []
        self._line_numbers: list[int] = []
        self._heads: list[str] = []
        """What each line begins with, whatever its value; none when all is to be read anew"""

    @property
    def lines(self) -> Sequence[str]:
        """The last exposition, as it came."""
        return self._lines

    def want(self, families: frozenset[str]) -> None:
        """These too, from the next scrape on."""
        self._wanted |= families
        self._forget_unwanted()
        self._heads = []

    def read(self, text: str) -> Exposition:
        """Raises `ExpositionError`, and has then read nothing."""
        parts = text.split(f"\n{HELP}")
        found = self._changes(parts) if self._heads and len(parts) == len(self._parts) else None
        if found is None:
            lines = text.split("\n")
            changes = self._read_all(lines)
            self._firsts = list(accumulate((part.count("\n") + 1 for part in parts), initial=0))
        else:
            lines, changes = found
        self._parts, self._lines = parts, lines
        for number, value in changes:
            self._values[number] = value
        return Exposition(self._slots, self._values.copy(), self._present, [number for number, _ in changes])

    def _forget_unwanted(self) -> None:
        self._known = {series: number for series, number in self._known.items() if number != UNWANTED}
        self._known_characters = sum(map(len, self._known))

    def _make_room(self) -> None:
        """What nobody asked for goes first: with the others, what they were last is forgotten."""
        if self._is_full:
            self._forget_unwanted()
        if self._is_full:
            self._known, self._slots, self._numbers, self._values = {}, [], {}, []
            self._known_characters, self._present, self._heads = 0, (), []

    @property
    def _is_full(self) -> bool:
        return len(self._known) > MOST_KNOWN_LINES or self._known_characters > MOST_KNOWN_CHARACTERS

    def _changes(self, parts: list[str]) -> tuple[list[str], list[tuple[int, float]]] | None:
        """All lines, and the changes in them; None when more than numbers changed."""
        lines, changes = self._lines.copy(), list[tuple[int, float]]()
        for place in compress(range(len(parts)), map(ne, parts, self._parts)):
            first, end = self._firsts[place : place + 2]
            found = f"{HELP if place else ''}{parts[place]}".split("\n")
            if len(found) != end - first:
                return None
            lines[first:end] = found
            for index in compress(range(first, end), map(ne, found, self._lines[first:end])):
                line, head = lines[index], self._heads[index]
                if not line.startswith(head):
                    return None
                number = self._line_numbers[index]
                if number != UNWANTED:
                    changes.append((number, _value(line[len(head) :], index + 1)))
        return lines, changes

    def _read_all(self, lines: list[str]) -> list[tuple[int, float]]:
        self._make_room()
        known = self._known
        numbers: list[int] = []
        heads: list[str] = []
        changes: dict[int, float] = {}
        for index, raw in enumerate(lines, start=1):
            line = raw.strip()
            if not line or line[0] == "#":
                numbers.append(UNWANTED)
                heads.append("#" if raw.startswith("#") else NO_SAMPLE)
                continue
            if len(line) > LONGEST_LINE:
                raise ExpositionError(index)
            # What stands before an exemplar, if it has one.
            sample = found[1] if " # " in line and (found := _WITH_EXEMPLAR.match(line)) else line
            series, brace, rest = sample.rpartition("}")
            if not brace:
                series, _, rest = sample.replace("\t", " ").partition(" ")
            number = known.get(series)
            if number is None:
                number = known[series] = self._learn(sample, index)
                self._known_characters += len(series)
            if number != UNWANTED:
                value = _value(rest, index)
                if number in changes:  # of a series that is there twice the first counts, or it would seem to fall
                    number = UNWANTED
                else:
                    changes[number] = value
            numbers.append(number)
            plain = len(rest) and raw.startswith(sample)  # else it begins with blanks, and is read whole each time
            heads.append(sample[: -len(rest)] if plain else NO_SAMPLE)
        self._line_numbers, self._heads = numbers, heads
        present = tuple(sorted(changes))
        if present != self._present:
            self._present = present
        return list(changes.items())

    def _wants(self, name: str) -> bool:
        return any(one in self._wanted for one in (name, name.removesuffix("_bucket"), name.removesuffix("_total")))

    def _learn(self, line: str, index: int) -> int:
        if (named := _NAME.match(line)) and not self._wants(named[1]):
            return UNWANTED
        from prometheus_client.parser import text_string_to_metric_families

        try:
            sample = next(iter(text_string_to_metric_families(line))).samples[0]
            labels = dict(sample.labels)
            bound = labels.pop("le", None)
            upper = None if bound is None else _bound(bound)
        except (ValueError, IndexError, StopIteration):
            raise ExpositionError(index) from None
        name = sample.name
        # The Triton documentation's own sample omits the suffix that the format prescribes.
        family = name.removesuffix("_bucket") if upper is not None else name.removesuffix("_total")
        if family not in self._wanted and name not in self._wanted:
            return UNWANTED
        if upper is not None and math.isnan(upper):
            return UNWANTED
        slot = Slot(family if upper is not None else name, tuple(sorted(labels.items())), upper)
        number = self._numbers.get(slot)
        if number is None:
            number = self._numbers[slot] = len(self._slots)
            self._slots.append(slot)
            self._values.append(math.nan)
        return number


def _bound(text: str) -> float:
    """NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _value(text: str, line: int) -> float:
    """Of what follows a series: its value, and perhaps a time."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(text.split(None, 1)[0])
    except (ValueError, IndexError):
        raise ExpositionError(line) from None


def find_rubbish(text: str) -> int | None:
    """The line (from 1) where a text's first sample shows that it is no exposition; None when it seems to be one."""
    from prometheus_client.parser import text_string_to_metric_families

    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line[0] == "#":
            continue
        if len(line) > LONGEST_LINE:
            return number
        try:
            next(iter(text_string_to_metric_families(line)))
        except (ValueError, IndexError, StopIteration):
            return number
        return None
    return 1
