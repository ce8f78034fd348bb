"""What a line of the metrics view is made of."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from engine.metrics_reading import Group


class Kind(StrEnum):
    GAUGE = "gauge"
    SHARE = "share"
    """One gauge of another"""
    RATE = "rate"
    """Increase of counters per second, between two scrapes"""
    RATIO = "ratio"
    """Increase of counters per increase of others, over the window"""
    QUANTILE = "quantile"
    """Of a histogram's observations in the window"""
    SUMMARY = "summary"
    """Quantiles as the server computes them"""
    WORD = "word"
    """What labels say, of the label set with the highest value of each engine"""


class Over(StrEnum):
    """How a gauge's label sets become one number."""

    SUM = "sum"
    MAX = "max"


class Split(StrEnum):
    """Which parts of an idea are lines of their own, too."""

    MODEL = "model"
    """Each model's, when the server has several"""
    REASON = "reason"
    """Each value of the pick's label, once it was not 0"""
    LABELS = "labels"
    """Each label set"""


@dataclass(frozen=True, slots=True)
class Pick:
    """Label sets of a family."""

    names: tuple[str, ...]
    """Alternative names without `_total`, the newest first: the first that is reported counts"""
    label: str = ""
    only: tuple[str, ...] = ()
    """Values of `label`; empty: all"""
    but: tuple[str, ...] = ()
    """No such values of `label`"""
    reason: str = ""
    """What they are called where the idea is split by reason; empty: by `label`"""

    def takes(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.label, "")
        return (not self.only or value in self.only) and value not in self.but


@dataclass(frozen=True, slots=True)
class Idea:
    """Ideas with the same key are one in different servers' terms; the first that a server reports counts."""

    key: str
    title: str
    unit: str
    """req/s, tok/s, s, %, bytes …; empty for a plain count"""
    kind: Kind
    group: Group
    picks: tuple[Pick, ...]
    """Added up; those that are not reported are left out"""
    per: tuple[Pick, ...] = ()
    """The denominator"""
    over: Over = Over.SUM
    scale: float = 1.0
    """From the exposed unit to `unit`"""
    offset: float = 0.0
    least: float = -math.inf
    """A gauge below this says that nothing is known"""
    quantile: float = 0.5
    split: tuple[Split, ...] = ()
    labels: tuple[str, ...] = ()
    """Whose values are the words, several of one value separated by commas"""
    words: Mapping[str, str] | None = None
    """In other words"""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for pick in (*self.picks, *self.per) for name in pick.names)


FRACTION_TO_PERCENT = 100.0
MICROSECONDS = 1e-6
MILLISECONDS = 1e-3


def pick(*names: str) -> tuple[Pick, ...]:
    return (Pick(names),)


def quantiles(
    key: str, title: str, unit: str, group: Group, *names: str, scale: float = 1.0, split: tuple[Split, ...] = ()
) -> tuple[Idea, ...]:
    """p50, p90 and p99 of a histogram."""
    return tuple(
        Idea(
            f"{key}_p{percent}",
            f"{title} p{percent}",
            unit,
            Kind.QUANTILE,
            group,
            pick(*names),
            scale=scale,
            quantile=percent / 100,
            split=split,
        )
        for percent in (50, 90, 99)
    )
