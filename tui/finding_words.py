"""The doctor's findings in words: their symbols, headings and counts."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from engine.finding import Finding, Severity


class Look(NamedTuple):
    symbol: str
    heading: str
    colour: str
    """Of the theme; empty for none"""


LOOKS = {
    Severity.ERROR: Look("▲", "Errors", "error"),
    Severity.WARNING: Look("!", "Warnings", "warning"),
    Severity.UNKNOWN: Look("?", "Unknown", "warning"),
    Severity.INFO: Look("·", "To know", ""),
    Severity.OK: Look("✓", "In order", "success"),
}
"""The gravest first"""
_COUNTED = {
    Severity.ERROR: ("error", "errors"),
    Severity.WARNING: ("warning", "warnings"),
    Severity.UNKNOWN: ("unknown", "unknown"),
    Severity.INFO: ("to know", "to know"),
    Severity.OK: ("in order", "in order"),
}


def counts(findings: Iterable[Finding]) -> dict[Severity, int]:
    """Of every severity, the gravest first."""
    found = Counter(finding.severity for finding in findings)
    return {severity: found[severity] for severity in LOOKS}


def counted(findings: Iterable[Finding]) -> str:
    """`1 error · 2 warnings · 14 in order`"""
    told = [f"{count} {_COUNTED[severity][count != 1]}" for severity, count in counts(findings).items() if count]
    return " · ".join(told) or "nothing was looked at"
