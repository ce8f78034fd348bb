"""Reads the Prometheus text format, again and again from the same server, at little cost."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Labels = tuple[tuple[str, str], ...]

MAX_KNOWN_SERIES = 100_000


class ExpositionError(ValueError):
    """The text is something else; `line` says where that shows, counted from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is no Prometheus sample")
        self.line = line


@dataclass(frozen=True, slots=True)
class Exposition:
    """The wanted part of one scrape: values by exposed name and labels."""

    scalars: Mapping[str, Mapping[Labels, float]]
    buckets: Mapping[str, Mapping[Labels, Mapping[float, float]]]
    """Cumulative counts by upper bound; named without `_bucket`, labelled without `le`"""

    def scalar(self, families: Iterable[str]) -> str | None:
        """The exposed name of the first family that is there; counters may carry `_total` or not."""
        return next((name for family in families for name in (family, f"{family}_total") if name in self.scalars), None)

    def histogram(self, families: Iterable[str]) -> str | None:
        return next((family for family in families if family in self.buckets), None)


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where the value of a known series belongs."""

    name: str
    labels: Labels
    bound: float | None


@dataclass(slots=True)
class ExpositionReader:
    """Remembers what each series' text means, so that a further scrape costs a look-up and a number per line."""

    wanted: frozenset[str]
    """Names of families, without `_total` and `_bucket`"""
    _known: dict[str, _Slot | None] = field(default_factory=dict)

    def read(self, text: str) -> Exposition:
        """Raises `ExpositionError`."""
        scalars: dict[str, dict[Labels, float]] = defaultdict(dict)
        buckets: dict[str, dict[Labels, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
        known = self._known
        if len(known) > MAX_KNOWN_SERIES:
            known.clear()
        for number, raw in enumerate(text.split("\n"), start=1):
            line = raw.strip()
            if not line or line[0] == "#":
                continue
            series, brace, rest = line.rpartition("}")
            if not brace:
                series, _, rest = line.replace("\t", " ").partition(" ")
            try:
                slot = known[series]
            except KeyError:
                slot = known[series] = self._learn(line, number)
            if slot is None:
                continue
            try:
                value = float(rest.split(None, 1)[0])
            except (ValueError, IndexError):
                raise ExpositionError(number) from None
            if slot.bound is None:
                scalars[slot.name][slot.labels] = value
            else:
                buckets[slot.name][slot.labels][slot.bound] = value
        return Exposition(scalars, buckets)

    def _learn(self, line: str, number: int) -> _Slot | None:
        """What a series' text means; None when nobody asked for it."""
        from prometheus_client.parser import text_string_to_metric_families

        try:
            sample = next(iter(text_string_to_metric_families(line))).samples[0]
            labels = dict(sample.labels)
            bound = labels.pop("le", None)
            upper = None if bound is None else float(bound)
        except (ValueError, IndexError, StopIteration):
            raise ExpositionError(number) from None
        name = sample.name
        # The Triton documentation's own sample omits the suffix that the format prescribes.
        family = name.removesuffix("_bucket") if upper is not None else name.removesuffix("_total")
        if family not in self.wanted:
            return None
        return _Slot(family if upper is not None else name, tuple(sorted(labels.items())), upper)


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
