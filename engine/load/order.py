"""What a load test's process is given to do."""

import json
from dataclasses import dataclass
from pathlib import Path

from engine.deployment import Service
from engine.load import codec
from engine.load_plan import LoadPlan
from engine.load_result import LoadOutcome, LoadResult


@dataclass(frozen=True, slots=True)
class Target:
    """The deployment that is put under load, as the result names it. Of secrets its service has references only."""

    deployment: str
    run: str
    what: str
    service: Service

    def result(self, plan: LoadPlan, began_at: float, outcome: LoadOutcome, message: str) -> LoadResult:
        """Of a test that has measured nothing yet."""
        return LoadResult(
            id="",
            deployment=self.deployment,
            run=self.run,
            what=self.what,
            model=plan.model or self.service.model or "",
            transport=str(plan.transport or ""),
            plan=plan,
            began_at=began_at,
            outcome=outcome,
            message=message,
            levels=(),
        )


@dataclass(frozen=True, slots=True)
class Order:
    target: Target
    plan: LoadPlan
    store: Path
    """Where the result is kept"""

    def to_json(self) -> str:
        """On one line. Raises ValueError for text that no JSON can hold."""
        target = self.target
        words = {
            "deployment": target.deployment,
            "run": target.run,
            "what": target.what,
            "service": target.service.to_json(),
            "plan": codec.dump(self.plan),
            "store": str(self.store),
        }
        return json.dumps(words)

    @classmethod
    def from_json(cls, text: str) -> "Order":
        """Raises ValueError, TypeError or KeyError when it is something else."""
        words = json.loads(text)
        service = Service.from_json(words["service"])
        target = Target(words["deployment"], words["run"], words["what"], service)
        return cls(target, codec.plan(words["plan"]), Path(words["store"]))
