"""What operations ask of past launches, and what they leave for the next."""

import socket
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from engine.launches import Launched, Launches, cache_state
from engine.request import Way
from engine.runtimes.base import Runtime
from engine.snapshot import Estimate, OperationStatus, Outcome, StepKind
from engine.startup import Phase, Reported, Startup
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.deployment import Deployment
    from engine.launches import Cache, Phases
    from engine.plan import Plan

LAUNCHING = (StepKind.START, StepKind.LOAD, StepKind.WAKE, StepKind.GPUS, StepKind.WAIT)
"""The steps that a launch consists of; the prompt ends it. To be made takes no time, and in a swap comes long before"""


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

    def usual(self, deployment: "Deployment") -> "Phases":
        """The phases of past starts like its present one, and the typical seconds of each. Blocks shortly."""
        cache = self._caches.get(deployment.name, "warm")
        what = (deployment.name, deployment.profile_digest, deployment.image_id, self._host, cache)
        return self._launches.phases(*what)

    def reported(self, name: str) -> tuple[Reported, ...]:
        """What the engine told of itself when this was last launched here with success. Blocks shortly."""
        return self._launches.reported(name, self._host)

    def files(self, plan: "Plan") -> Path | None:
        """Where what it downloads can be seen to grow; None where it cannot, or it is no repository of the hub."""
        from engine.observe.startup_files import model_folder

        launch = plan.launch
        mounts = {mount.target: mount.source for mount in launch.mounts}
        return model_folder(launch.runtime, launch.env, mounts, plan.model)

    def launched(
        self,
        plan: "Plan",
        status: OperationStatus,
        *,
        ready: bool,
        way: Way = Way.FULL,
        startup: Startup | None = None,
    ) -> None:
        """Keeps how long the phases of a start took, or its steps where no `startup` told of phases.

        Nothing when it did not come to its start.
        """
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
        if startup and len(startup.phases) > 1:
            phases = _phases(startup)
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
                reported=startup.reported if startup else (),
            )
        )

    def _image_id(self, plan: "Plan") -> str:
        if not plan.launch.image:
            return ""
        try:
            return self._runtimes[plan.launch.runtime].image_id(plan.launch.image)
        except EngineError:
            return ""


def _phases(startup: Startup) -> "Phases":
    """Those that have ended; one that was broken off says nothing of how long it takes."""
    return tuple(
        (one.phase.value, one.ended_at - one.began_at)
        for one in startup.phases
        if one.ended_at is not None and one.phase is not Phase.READY
    )
