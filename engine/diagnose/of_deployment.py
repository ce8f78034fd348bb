"""Why a deployment failed: from its log, or the one that was kept of it, and from what its runtime tells of its end."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from engine.catalog import Catalog
from engine.deployment import Deployment, Lifecycle, State
from engine.deployments import Deployments
from engine.diagnose.of_file import blocks_of
from engine.diagnosis import Diagnosis, Evidence
from engine.errors import NotFound, OperationFailed, RuntimeUnreachable
from engine.observe.log_tail import read_lines
from engine.observe.state import judge
from engine.runtimes.base import Runtime
from engine.snapshot import OperationStatus, Outcome

if TYPE_CHECKING:
    from engine.profile import Profile

MOST_LINES = 800_000
"""Of a longer log the end is read: about 100 MB, as engines write"""
EARLIER_S = 0.5
"""A run's first lines may be stamped a moment before the runtime's own time of its start"""


class Diagnoses:
    """All of these block."""

    def __init__(
        self,
        deployments: Deployments,
        catalog: Callable[[], Catalog],
        operations: Callable[[], Sequence[OperationStatus]],
    ) -> None:
        """`operations`: newest first."""
        self._deployments = deployments
        self._catalog = catalog
        self._operations = operations

    def of(self, name: str) -> Diagnosis:
        """Of the deployment, or of the log that was kept of a later one when that failed and was removed.

        Raises `NotFound` when there is neither, and `RuntimeUnreachable` when its runtime does not answer.
        """
        try:
            runtime, deployment = self._deployments.watched(name)
        except (NotFound, RuntimeUnreachable) as error:
            profile = self._profile(name)
            if kept := _kept_log(name, self._operations()):
                silent = isinstance(error, RuntimeUnreachable)
                now = f"{error.what} What has become of {name} since is not known." if silent else ""
                return _of_kept(kept, profile, now)
            if profile and isinstance(error, NotFound):
                what = f"{name} has no deployment, and no log of an earlier one is kept: there is nothing to explain."
                raise NotFound(what) from error
            raise
        if kept := _kept_since(deployment, self._operations()):
            return _of_kept(kept, self._profile(name))
        return self._of_run(runtime, deployment)

    def of_run(self, deployment: Deployment) -> Diagnosis:
        """Of its present run, or its last when it has ended. Raises `EngineError`."""
        return self._of_run(self._deployments.runtimes[deployment.runtime], deployment)

    def _of_run(self, runtime: Runtime, deployment: Deployment) -> Diagnosis:
        from engine.diagnose.explain import explain

        name = deployment.name
        about = tuple(status for status in self._operations() if name in status.subjects)
        state = judge(deployment, None, about, time.time(), was_ready=False).state
        evidence = Evidence(
            exit_code=deployment.exit_code,
            oom_killed=deployment.oom_killed,
            restarts=deployment.restarts,
            runtime_error=deployment.error,
            stack=deployment.stack,
            runtime=deployment.runtime,
            stopped_on_purpose=deployment.lifecycle is Lifecycle.EXITED and state is State.STOPPED,
        )
        # What restarts again and again may have begun just now: why, is said by the runs before.
        since = deployment.started_at - EARLIER_S if deployment.started_at and not deployment.restarts else None
        with closing(read_lines(runtime, name, tail=MOST_LINES, follow=False, since=since)) as lines:
            return explain((line.text for line in lines), evidence, self._profile(name))

    def _profile(self, name: str) -> "Profile | None":
        entry = self._catalog().entries.get(name)
        return entry.profile if entry else None


def _kept_log(name: str, operations: Sequence[OperationStatus]) -> OperationStatus | None:
    """The newest that kept one that is still there."""
    kept = (status for status in operations if status.log_path and status.target == name)
    return next((status for status in kept if _is_there(Path(status.log_path))), None)


def _kept_since(deployment: Deployment, operations: Sequence[OperationStatus]) -> OperationStatus | None:
    """Of what was to take its place: it has that again, and nothing is wrong with it."""
    latest = next((status for status in operations if status.target == deployment.name), None)
    if latest is None or not latest.log_path or latest.outcome is not Outcome.ROLLED_BACK:
        return None
    ended = deployment.lifecycle is Lifecycle.EXITED and (deployment.finished_at or 0.0) > latest.began_at
    return latest if not ended and _is_there(Path(latest.log_path)) else None


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _of_kept(status: OperationStatus, profile: "Profile | None", now: str = "") -> Diagnosis:
    from engine.diagnose.explain import explain_text

    path = Path(status.log_path)
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.began_at))
    whose = f"This log is of an earlier launch: the {status.kind} of {began} kept it when it failed."
    evidence = Evidence(stack=profile.stack if profile else "")
    try:
        file = path.open("rb")
    except OSError as error:
        raise OperationFailed(f"{path} cannot be read: {error.strerror}.", "Correct its permissions.") from error
    with file:
        # What the operation made of it proves nothing; in its place stands an empty line, as lines are counted.
        first = (b"\n",) if file.peek(2).startswith(b"# ") and file.readline() else ()
        with closing(blocks_of(file, str(path))) as blocks:
            diagnosis = explain_text(chain(first, blocks), evidence, profile)
    return replace(diagnosis, log=f"{now} {whose}".lstrip())
