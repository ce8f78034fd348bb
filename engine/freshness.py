"""How far what is shown can be trusted."""

from enum import StrEnum


class Freshness(StrEnum):
    """Of a pane's data."""

    LOADING = "loading"
    FRESH = "fresh"
    STALE = "stale"
    FAILED = "failed"
    NONE = "none"
    """There is nothing to show and nothing is wrong"""
