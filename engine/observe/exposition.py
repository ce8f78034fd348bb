"""Reads the Prometheus text format, again and again from the same server, at little cost."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import ne

Labels = tuple[tuple[str, str], ...]

MAX_KNOWN_SERIES = 100_000
UNWANTED = -1
NO_SAMPLE = "\n"
"""What no line begins with"""


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
    """Compares each scrape with the one before it: where only numbers changed, only those are read."""

    def __init__(self, wanted: frozenset[str]) -> None:
        """`wanted`: names of families, without `_total` and `_bucket`."""
        self._wanted = wanted
        self._known: dict[str, int] = {}
        """By a line's text up to its value; `UNWANTED` when nobody asked for it"""
        self._slots: list[Slot] = []
        self._numbers: dict[Slot, int] = {}
        self._values: list[float] = []
        self._present: tuple[int, ...] = ()
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
        self._known = {series: number for series, number in self._known.items() if number != UNWANTED}
        self._heads = []

    def read(self, text: str) -> Exposition:
        """Raises `ExpositionError`, and has then read nothing."""
        lines = text.split("\n")
        changes = self._changes(lines) if len(lines) == len(self._heads) else None
        if changes is None:
            changes = self._read_all(lines)
        self._lines = lines
        for number, value in changes:
            self._values[number] = value
        return Exposition(self._slots, self._values.copy(), self._present, [number for number, _ in changes])

    def _forget(self) -> None:
        self._known, self._slots, self._numbers, self._values = {}, [], {}, []
        self._present, self._heads = (), []

    def _changes(self, lines: list[str]) -> list[tuple[int, float]] | None:
        """None when more than numbers changed."""
        changes: list[tuple[int, float]] = []
        for index in compress(range(len(lines)), map(ne, lines, self._lines)):
            line, head = lines[index], self._heads[index]
            if not line.startswith(head):
                return None
            number = self._line_numbers[index]
            if number != UNWANTED:
                changes.append((number, _value(line[len(head) :], index + 1)))
        return changes

    def _read_all(self, lines: list[str]) -> list[tuple[int, float]]:
        if len(self._known) > MAX_KNOWN_SERIES:
            self._forget()
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
            series, brace, rest = line.rpartition("}")
            if not brace:
                series, _, rest = line.replace("\t", " ").partition(" ")
            number = known.get(series)
            if number is None:
                number = known[series] = self._learn(line, index)
            if number != UNWANTED:
                changes[number] = _value(rest, index)
            numbers.append(number)
            plain = len(rest) and raw.endswith(rest)  # else it ends with blanks, and is read whole each time
            heads.append(raw[: -len(rest)] if plain else NO_SAMPLE)
        self._line_numbers, self._heads = numbers, heads
        present = tuple(sorted(changes))
        if present != self._present:
            self._present = present
        return list(changes.items())

    def _learn(self, line: str, index: int) -> int:
        from prometheus_client.parser import text_string_to_metric_families

        try:
            sample = next(iter(text_string_to_metric_families(line))).samples[0]
            labels = dict(sample.labels)
            bound = labels.pop("le", None)
            upper = None if bound is None else float(bound)
        except (ValueError, IndexError, StopIteration):
            raise ExpositionError(index) from None
        name = sample.name
        # The Triton documentation's own sample omits the suffix that the format prescribes.
        family = name.removesuffix("_bucket") if upper is not None else name.removesuffix("_total")
        if family not in self._wanted and name not in self._wanted:
            return UNWANTED
        slot = Slot(family if upper is not None else name, tuple(sorted(labels.items())), upper)
        number = self._numbers.get(slot)
        if number is None:
            number = self._numbers[slot] = len(self._slots)
            self._slots.append(slot)
            self._values.append(math.nan)
        return number


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
        try:
            next(iter(text_string_to_metric_families(line)))
        except (ValueError, IndexError, StopIteration):
            return number
        return None
    return 1
