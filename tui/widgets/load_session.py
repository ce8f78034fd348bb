"""What the pane `Load` shows of one deployment. Knows no widget."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from engine.load_result import LoadResult
from tui.widgets.load_fields import DEFAULTS, Values, values_of
from tui.widgets.prompt_offers import KnownOffer


class Mode(Enum):
    START = "start"
    FORM = "form"
    LIVE = "live"
    REPORT = "report"
    EARLIER = "earlier"
    COMPARISON = "comparison"


@dataclass(eq=False)
class LoadSession:
    """What is looked at and typed, of one deployment."""

    mode: Mode = Mode.START
    values: Values | None = None
    """Of the form; None: nothing was typed"""
    shown: LoadResult | None = None
    shown_from: Mode = Mode.START
    """Where it was opened"""
    compared: tuple[LoadResult, LoadResult] | None = None
    earlier: Sequence[LoadResult] | None = None
    """None: not read"""
    trouble: str = ""
    """Why they cannot be read"""
    reading: bool = False
    offer: KnownOffer = field(default_factory=KnownOffer)

    def first_values(self) -> Values:
        """Those of the last test of this deployment, or such as end within a minute."""
        last = self.earlier[0].plan if self.earlier else None
        return values_of(last) if last and last.levels else dict(DEFAULTS)
