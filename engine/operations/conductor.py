"""Carries out operations: start, stop, restart and remove, each in steps that are checked and recorded."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from engine.catalog import NAME
from engine.deployment import Deployment, Lifecycle, precedence
from engine.errors import EngineError, NotFound, OperationFailed, Refused, RuntimeUnreachable
from engine.operations.gpus import check_gpus
from engine.operations.lock import exclusive, placing
from engine.operations.ready import ReadyWait
from engine.operations.record import Abandoned, Progress, Record
from engine.plan import Plan
from engine.request import Action
from engine.runtimes.base import Runtime
from engine.settings import Settings
from engine.snapshot import OperationStatus, Outcome, Step, StepKind
from engine.stacks.context import is_free
from engine.store import Journal
from engine.text import clean_line

STOP_TIMEOUT_S = 45.0
"""Longer than the 30 s that Triton gives its own shutdown"""
Planner = Callable[[str, str | None], Plan]


class Conductor:
    """One for the engine; each `run` is one operation, and may be called from several threads."""

    def __init__(
        self,
        settings: Settings,
        runtimes: dict[str, Runtime],
        journal: Journal,
        planner: Planner,
    ) -> None:
        self._runtimes = runtimes
        self._journal = journal
        self._planner = planner
        self._locks = settings.state_dir / "locks"
        self.closing = threading.Event()
        """Set: operations that only wait are ended as abandoned."""

    def run(
        self,
        action: Action,
        name: str,
        *,
        runtime: str | None = None,
        wait: bool = True,
        timeout_s: float | None = None,
        force: bool = False,
        progress: Progress = lambda _: None,
    ) -> OperationStatus:
        """Blocks until the operation has ended. Raises `EngineError` when it did not succeed, after recording that.

        `wait`: a start counts as done only when the server is ready, at most `timeout_s` (or the profile's own limit).
        `force`: a start in spite of the plan's obstacles.
        """
        if not NAME.fullmatch(name):
            raise NotFound(f"{clean_line(name)} can be no deployment's name.", "`tritontui ls` shows those that exist.")
        steps = _STEPS[action]
        record = Record(self._journal, action.value, name, [step for step in steps if wait or _changes(step)], progress)
        try:
            match action:
                case Action.START:
                    message = self._start(record, name, runtime, wait=wait, timeout_s=timeout_s, force=force)
                case Action.STOP:
                    message = self._stop(record, name)
                case Action.RESTART:
                    message = self._restart(record, name, wait=wait, timeout_s=timeout_s, force=force)
                case Action.REMOVE:
                    message = self._remove(record, name)
        except Abandoned as error:
            record.finish(Outcome.CANCELLED, str(error))
            raise
        except EngineError as error:
            record.finish(Outcome.FAILED, str(error))
            raise
        except KeyboardInterrupt:
            record.finish(Outcome.CANCELLED, f"Interrupted; what was begun with {name} goes on.")
            raise
        except BaseException as error:
            record.finish(Outcome.FAILED, f"It broke off unexpectedly ({type(error).__name__}: {error}).")
            raise
        record.finish(Outcome.DONE, message)
        return record.status

    def locate(self, name: str) -> tuple[Runtime, Deployment] | None:
        """Where the deployment lives; the one that is shown, when each runtime has one of that name.

        Raises `RuntimeUnreachable` when it may live where nobody answers.
        """
        silent: RuntimeUnreachable | None = None
        found: list[tuple[Runtime, Deployment]] = []
        for runtime in self._runtimes.values():
            try:
                found += [(runtime, deployment) for deployment in runtime.deployments() if deployment.name == name]
            except RuntimeUnreachable as error:
                silent = error
        if silent and not found:
            raise RuntimeUnreachable(
                f"{name} is not among the deployments that can be seen. {silent.what}", silent.remedy
            ) from silent
        return max(found, key=lambda place: precedence(place[1]), default=None)

    def require(self, name: str) -> tuple[Runtime, Deployment]:
        """As `locate`, but raises `NotFound` when there is none."""
        found = self.locate(name)
        if not found:
            raise NotFound(f"{name} has not been started: there is no deployment of that name.")
        return found

    def _find(self, name: str, wanted: str) -> tuple[Runtime, Deployment] | None:
        """A start needs only its own runtime; that another one is silent must not hinder it."""
        try:
            return self.locate(name)
        except RuntimeUnreachable:
            for deployment in self._runtimes[wanted].deployments():
                if deployment.name == name:
                    return self._runtimes[wanted], deployment
            return None

    def _start(
        self, record: Record, name: str, runtime_name: str | None, *, wait: bool, timeout_s: float | None, force: bool
    ) -> str:
        with exclusive(self._locks, name), contextlib.ExitStack() as until_started:
            with record.step(StepKind.CHECK) as detail:
                plan = self._planner(name, runtime_name)
                if plan.placement:
                    until_started.enter_context(placing(self._locks))
                    plan = self._planner(name, runtime_name)
                else:
                    record.leave_out(StepKind.GPUS)
                runtime = self._runtimes[plan.launch.runtime]
                found = self._find(name, runtime.name)
                reuse = self._check(plan, runtime, found, force=force)
                detail(f"{plan.launch.stack} on {runtime.name}")
            if found and found[1].lifecycle is Lifecycle.RUNNING:
                deployment = found[1]
            else:
                with record.step(StepKind.CREATE) as detail:
                    if reuse:
                        detail("kept from its last run")
                    else:
                        if found:
                            found[0].remove(name)
                        runtime.create(plan.launch)
                        detail(
                            ", ".join(f"{port.purpose} {port.host_ip}:{port.host_port}" for port in plan.launch.ports)
                        )
                with record.step(StepKind.START), self._undo_create(runtime, name, created=not reuse):
                    runtime.start(name)
                until_started.close()
                if plan.placement:
                    with record.step(StepKind.GPUS) as detail:
                        detail(check_gpus(plan, runtime, STOP_TIMEOUT_S))
                deployment = self.require(name)[1]
        if not wait:
            return f"{name} was started; it is not known yet whether it becomes ready."
        ready = ReadyWait(self._journal, runtime, deployment, record, self.closing)
        return ready.run(timeout_s or deployment.service.ready_timeout_s)

    def _check(self, plan: Plan, runtime: Runtime, found: tuple[Runtime, Deployment] | None, *, force: bool) -> bool:
        """Whether the kept deployment can be started again as it is. Raises `Refused` when nothing can be started."""
        name = plan.launch.name
        if found and found[1].lifecycle is Lifecycle.RUNNING:
            if found[0] is not runtime:
                raise Refused(
                    f"{name} runs on {found[0].name} already.", f"Stop it before it is started on {runtime.name}."
                )
            return True
        if not force:
            _refuse_obstacles(plan)
        if found and found[0] is runtime and _is_as_planned(found[1], plan):
            service = found[1].service
            if found[1].lifecycle is Lifecycle.EXITED and all(
                is_free(host, port) for host, port in service.addresses()
            ):
                return True
        _refuse_missing(plan, runtime)
        for port in plan.launch.ports:
            if not is_free(port.host_ip, port.host_port):
                raise Refused(
                    f"Port {port.host_port} ({port.purpose}) of {name} is in use on {port.host_ip}.",
                    "Stop what uses it, or give the profile another port under `expose`.",
                )
        return False

    @contextlib.contextmanager
    def _undo_create(self, runtime: Runtime, name: str, *, created: bool) -> Iterator[None]:
        """A deployment that could not even be started is taken away again, so that the next try begins afresh."""
        try:
            yield
        except (OperationFailed, Refused) as error:
            if created:
                try:
                    with contextlib.suppress(NotFound):
                        runtime.remove(name)
                except EngineError as left:
                    raise OperationFailed(str(error), f"What was created is still there: {left}") from error
            raise

    def _stop(self, record: Record, name: str) -> str:
        with exclusive(self._locks, name), record.step(StepKind.STOP) as detail:
            runtime, deployment = self.require(name)
            if deployment.lifecycle is not Lifecycle.RUNNING:
                return f"{name} was not running."
            runtime.stop(name, STOP_TIMEOUT_S)
            ended = self.require(name)[1]
            if ended.lifecycle is Lifecycle.RUNNING:
                raise OperationFailed(f"{name} was told to stop and still runs.", f"Look at it on {runtime.name}.")
            detail("" if ended.exit_code is None else f"exit code {ended.exit_code}")
        return f"{name} is stopped."

    def _restart(self, record: Record, name: str, *, wait: bool, timeout_s: float | None, force: bool) -> str:
        """What cannot be started again is not interrupted; what was interrupted is started again."""
        runtime, deployment = self.require(name)
        plan = self._planner(name, runtime.name)
        if not force:
            _refuse_obstacles(plan)
        if not _is_as_planned(deployment, plan):
            _refuse_missing(plan, runtime)
        self._stop(record, name)
        return self._start(record, name, runtime.name, wait=wait, timeout_s=timeout_s, force=True)

    def _remove(self, record: Record, name: str) -> str:
        with exclusive(self._locks, name):
            runtime, deployment = self.require(name)
            with record.step(StepKind.STOP):
                if deployment.lifecycle is Lifecycle.RUNNING:
                    runtime.stop(name, STOP_TIMEOUT_S)
            with record.step(StepKind.REMOVE):
                runtime.remove(name)
        return f"{name} and its log are removed."


_START = (
    Step(StepKind.CHECK, "check"),
    Step(StepKind.CREATE, "create"),
    Step(StepKind.START, "start"),
    Step(StepKind.GPUS, "check GPUs"),
    Step(StepKind.WAIT, "wait until ready"),
    Step(StepKind.PROMPT, "answer a prompt"),
)
_STOP = (Step(StepKind.STOP, "stop"),)
_STEPS: dict[Action, tuple[Step, ...]] = {
    Action.START: _START,
    Action.STOP: _STOP,
    Action.RESTART: _STOP + _START,
    Action.REMOVE: (*_STOP, Step(StepKind.REMOVE, "remove")),
}


def _changes(step: Step) -> bool:
    return step.kind not in (StepKind.WAIT, StepKind.PROMPT)


def _refuse_obstacles(plan: Plan) -> None:
    if plan.obstacles:
        sentences = (obstacle.rstrip(".") + "." for obstacle in plan.obstacles)
        name = plan.launch.name
        raise Refused(" ".join(sentences), f"`tritontui up {name} --force` starts it all the same.")


def _refuse_missing(plan: Plan, runtime: Runtime) -> None:
    if missing := runtime.missing(plan.launch):
        raise Refused(missing)


def _is_as_planned(kept: Deployment, plan: Plan) -> bool:
    """A container keeps the GPUs that it was made with: on others it is made anew."""
    same_gpus = not plan.placement or set(kept.gpus) == {gpu.uuid for gpu in plan.placement}
    return same_gpus and kept.profile_digest == plan.launch.profile_digest
