"""All that an endpoint reports, wanted or not, and what becomes of a family that is pinned."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from engine.metrics_reading import Family, Group, Series
from engine.observe.metric_catalog.idea import Idea, Kind, Over, Split, pick
from engine.text import clean_line

MOST_FAMILIES = 2000
MOST_HELP = 300
_PARTS = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("_count", "_sum")}
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]*")
_UNITS = {"seconds": "s", "bytes": "bytes", "us": "µs", "ms": "ms"}


@dataclass(slots=True)
class _Found:
    kind: str = "untyped"
    help: str = ""
    series: int = 0
    sets: set[str] = field(default_factory=set)
    """Label sets of a summary that has no count"""


UNREPORTED = "not reported"
"""In place of a figure"""


def families(lines: Iterable[str], pins: frozenset[str] = frozenset()) -> tuple[Family, ...]:
    """By name. `_created` ones, which accompany counters, are left out, and so are those without a sample."""
    found: dict[str, _Found] = {}
    for line in lines:
        if line.startswith("# "):
            _declare(line, found)
        elif (name := _NAME.match(line)) and len(found) < MOST_FAMILIES:
            _count(line, name[0], found)
    return tuple(
        Family(name, one.kind, clean_line(one.help)[:MOST_HELP], one.series or len(one.sets), name in pins)
        for name, one in sorted(found.items())
        if (one.series or one.sets) and not name.endswith("_created")
    )


def _declare(line: str, found: dict[str, _Found]) -> None:
    _, what, name, *rest = [*line.split(" ", 3), "", ""]
    if what in ("TYPE", "HELP") and _NAME.fullmatch(name) and len(found) < MOST_FAMILIES:
        one = found.setdefault(name, _Found())
        if what == "HELP":
            one.help = rest[0].replace("\\n", " ").replace("\\\\", "\\")
        elif rest[0].strip() in ("counter", "gauge", "histogram", "summary"):
            one.kind = rest[0].strip()


def _count(line: str, name: str, found: dict[str, _Found]) -> None:
    for suffix in ("_bucket", "_count", "_sum", "_total"):
        family = found.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if family and (suffix in _PARTS.get(family.kind, ()) or (suffix == "_total" and family.kind == "counter")):
            family.series += suffix in ("_count", "_total")
            return
    family = found.setdefault(name, _Found())
    if family.kind in _PARTS:  # a summary's quantile, or a bucket whose name lacks its suffix
        family.sets.add(re.sub(r'(?:le|quantile)="[^"]*"', "", line.rpartition("}")[0]))
    else:
        family.series += 1


def with_pins(reported: Sequence[Family], pins: frozenset[str]) -> tuple[Family, ...]:
    """By name, with those that are pinned and not reported, as another version or backend may have done."""
    known = [replace(family, pinned=family.name in pins) for family in reported]
    unreported = (Family(name, "", "", 0, pinned=True) for name in pins - {family.name for family in known})
    return tuple(sorted([*known, *unreported], key=lambda family: family.name))


def unreported_series(name: str) -> Series:
    """In place of those that a pinned family has while it is reported."""
    source = "it is pinned, and not reported now: / finds it, to unpin it"
    return Series(f"pin:{name}", name, "", None, source, group=Group.PINNED, word=UNREPORTED)


def pinned_ideas(reported: Sequence[Family]) -> tuple[Idea, ...]:
    return tuple(idea for family in reported if family.pinned for idea in _pinned(family))


def _pinned(family: Family) -> tuple[Idea, ...]:
    name, key = family.name, f"pin:{family.name}"
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(f"_{end}")), "")
    labels = (Split.LABELS,)
    match family.kind:
        case "counter":
            return (Idea(key, name, f"{unit}/s", Kind.RATE, Group.PINNED, pick(name)),)
        case "histogram":
            return tuple(
                Idea(
                    f"{key}_p{percent}",
                    f"{name} p{percent}",
                    unit,
                    Kind.QUANTILE,
                    Group.PINNED,
                    pick(name),
                    quantile=percent / 100,
                )
                for percent in (50, 99)
            )
        case "summary":
            return (Idea(key, name, unit, Kind.SUMMARY, Group.PINNED, pick(name), over=Over.MAX, split=labels),)
    return (Idea(key, name, unit, Kind.GAUGE, Group.PINNED, pick(name), split=labels),)
