"""What operations ask of past launches, and what they leave for the next."""

import socket
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.launches import Launched, Launches, cache_state
from engine.request import Way
from engine.runtimes.base import Runtime
from engine.snapshot import Estimate, OperationStatus, Outcome, StepKind
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.launches import Cache
    from engine.plan import Plan

LAUNCHING = (StepKind.CREATE, StepKind.START, StepKind.LOAD, StepKind.WAKE, StepKind.GPUS, StepKind.WAIT)
"""The steps that a launch consists of; the prompt ends it"""


class LaunchHistory:
    def __init__(self, launches: Launches, runtimes: Mapping[str, Runtime]) -> None:
        self._launches = launches
        self._runtimes = runtimes
        self._host = clean_line(socket.gethostname())
        self._caches: dict[str, Cache] = {}
        """As they were when the estimate was made: afterwards they are warm"""

    def names(self) -> frozenset[str]:
        """Of what has been launched with success. Blocks shortly."""
        return self._launches.names()

    def expect(self, plan: "Plan", way: Way = Way.FULL) -> Estimate | None:
        """How long starting it takes, until a prompt is answered. Blocks."""
        launch = plan.launch
        cache = self._caches[launch.name] = cache_state(self._launches, launch, plan.model, self._host)
        image_id = self._image_id(plan)
        return self._launches.estimate(launch.name, launch.profile_digest, image_id, self._host, cache, way=way)

    def launched(self, plan: "Plan", status: OperationStatus, *, ready: bool, way: Way = Way.FULL) -> None:
        """Keeps how long the steps of a start took; nothing when it did not come to its start."""
        launch = plan.launch
        steps = [
            step
            for step in status.steps
            if step.subject == launch.name and step.began_at and not step.undo and step.outcome is not None
        ]
        parts = [step for step in steps if step.kind in (*LAUNCHING, StepKind.PROMPT)]
        if not any(step.kind in LAUNCHING and step.outcome is Outcome.DONE for step in parts):
            return
        times = [step.began_at or 0.0 for step in parts]
        end = parts[-1].ended_at or times[-1]
        phases = tuple(
            (step.title, later - at) for step, (at, later) in zip(parts, pairwise((*times, end)), strict=True)
        )
        self._launches.record(
            Launched(
                name=launch.name,
                profile_digest=launch.profile_digest,
                image=launch.image or launch.command[0],
                image_id=self._image_id(plan),
                host=self._host,
                runtime=launch.runtime,
                cache=self._caches.get(launch.name, "warm"),
                began_at=times[0],
                phases=phases,
                seconds=end - times[0],
                outcome="ready" if ready else "failed",
                way=way,
            )
        )

    def _image_id(self, plan: "Plan") -> str:
        if not plan.launch.image:
            return ""
        try:
            return self._runtimes[plan.launch.runtime].image_id(plan.launch.image)
        except EngineError:
            return ""
