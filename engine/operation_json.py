"""An operation's status as JSON: for the journal, and between its process and the console that began it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.snapshot import Estimate, OperationStatus, Outcome, Step, StepKind


def to_json(status: OperationStatus) -> str:
    return json.dumps(asdict(status), separators=(",", ":"))


def from_json(text: str) -> OperationStatus:
    """Raises ValueError, TypeError or KeyError when the text is not what `to_json` writes."""
    data: dict[str, Any] = json.loads(text)
    return OperationStatus(
        **{
            **data,
            "steps": tuple(_step(step) for step in data["steps"]),
            "outcome": Outcome(data["outcome"]),
            "outgoing": tuple(data["outgoing"]),
            "notes": tuple(data["notes"]),
            "estimate": Estimate(**data["estimate"]) if data["estimate"] else None,
        }
    )


def _step(data: Mapping[str, Any]) -> Step:
    outcome = Outcome(data["outcome"]) if data["outcome"] else None
    return Step(**{**data, "kind": StepKind(data["kind"]), "outcome": outcome})
