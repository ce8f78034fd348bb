"""What a server takes, as far as it has been asked. Knows no widget."""

from dataclasses import dataclass

from engine.inference.offer import Offer
from engine.inference.prompt import Transport
from engine.snapshot import Model


@dataclass(frozen=True, slots=True)
class KnownOffer:
    offer: Offer | None = None
    """The last answer, of whichever start of the deployment"""
    of: object = None
    """Which start of the deployment, and by which transport, it was asked for last"""
    asking: bool = False
    trouble: str = ""
    """Why it did not answer"""

    def stale(self, now: object) -> bool:
        """It is of an earlier start, or could not be refreshed."""
        return self.offer is not None and (self.of != now or bool(self.trouble))

    def said(self, now: object) -> str:
        """How it stands, in a few words; empty when there is nothing to say."""
        if self.asking:
            return "asking the server what it takes …"
        if self.trouble:
            return "what it takes is not known" if self.offer is None else "what it takes: not up to date"
        return "what it takes: of an earlier start" if self.stale(now) else ""


def start_of(model: Model | None, transport: Transport | None) -> object:
    """Which start of a deployment it is; None for what does not run."""
    if model is None or model.deployment is None:
        return None
    return model.deployment.id, model.deployment.started_at, transport
