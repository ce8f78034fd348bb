"""What a swap would do: what goes, what comes in its place, and how."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping

from engine.deployment import Deployment, Service, precedence
from engine.errors import EngineError, NotFound, Refused, RuntimeUnreachable
from engine.observe.nvml import GpuUse
from engine.operations.in_the_way import Deployments, Holdings, InTheWay, adopt_hint, holds_port, runs
from engine.plan import Outgoing, Plan, SwapPlan
from engine.request import Way
from engine.runtimes.base import Runtime
from engine.stacks.placement import NO_CREDIT, Credit
from engine.text import clean_line

Ways = Callable[[Plan, Deployment | None, tuple[Deployment, ...]], tuple[Way, str, tuple[str, ...]]]
"""The way for an incoming plan, what there is of it already, and the outgoing; why this one; why not the others"""

NAMED = "it was named"


class SwapPlanner:
    def __init__(
        self,
        planner: Callable[[str, str | None, Credit], Plan],
        runtimes: Mapping[str, Runtime],
        processes: Callable[[], tuple[GpuUse, ...]],
        ways: Ways,
        drained_by: Callable[[Service], str],
        asleep: Callable[[Service], bool] = lambda _: False,
    ) -> None:
        """`asleep`: whether a server that runs is in vLLM's sleep mode, and has to be woken."""
        self._planner = planner
        self._runtimes = runtimes
        self._processes = processes
        self._ways = ways
        self._drained_by = drained_by
        self._asleep = asleep

    def plan(self, name: str, outgoing: tuple[str, ...], runtime: str | None, *, full: bool) -> SwapPlan:
        """`outgoing` empty: what holds the incoming one's GPUs or ports. `full`: though a faster way would do.

        Blocks. The plan may have obstacles. Raises `EngineError`; `Refused` when it is unclear what is to go, when
        nothing has to, or when a port is held by what does not go.
        """
        there = _There(self._runtimes)
        incoming = there.named(name)
        if name in outgoing:
            said = clean_line(name)
            raise Refused(f"{said} cannot be swapped for itself.", f"`tritontui restart {said}` starts it anew.")
        wakes = incoming is not None and runs(incoming)
        if wakes and incoming and not self._asleep(incoming.service):
            raise Refused(f"{name} runs already.", "To end the other one, stop it with `tritontui down`.")
        going = tuple(there.require(one) for one in dict.fromkeys(outgoing))
        holdings = Holdings(self._processes(), there.running)
        way_in = InTheWay(
            name, lambda credit: self._planner(name, runtime, credit), there.running, there.foreign, holdings
        )
        going = going or self._in_the_way(way_in, there, name, runtime)
        plan = way_in.plan(going)
        way_in.refuse_held_ports(plan, going)
        plan, (way, reason, others) = self._way(way_in, plan, incoming, going, full=full)
        if wakes and way is not Way.SLEEP:
            raise Refused(
                f"{name} runs, and sleeps; this swap would start it. {' '.join(others)}".rstrip(),
                f"Stop it with `tritontui down {name}`, and swap then.",
            )
        out = tuple(self._outgoing(one, plan, holdings) for one in going)
        warnings = [line for one, known in zip(out, going, strict=True) for line in _warnings(one, known)]
        words = json.dumps([plan.digest, sorted(one.id for one in out), way])
        return SwapPlan(
            plan,
            out,
            way,
            reason,
            others,
            (*there.silent, *warnings),
            hashlib.sha256(words.encode()).hexdigest()[:16],
        )

    def _in_the_way(self, way_in: InTheWay, there: "_There", name: str, runtime: str | None) -> Deployments:
        """Raises `RuntimeUnreachable` when nothing is found where nothing can be seen."""
        try:
            return way_in.found()
        except Refused as refused:
            if unseen := there.unreachable.get(self._planner(name, runtime, NO_CREDIT).launch.runtime):
                what = f"What is in the way of {name} cannot be told. {unseen.what}"
                raise RuntimeUnreachable(what, unseen.remedy) from refused
            raise

    def _way(
        self, way_in: InTheWay, plan: Plan, incoming: Deployment | None, going: Deployments, *, full: bool
    ) -> tuple[Plan, tuple[Way, str, tuple[str, ...]]]:
        """And the plan for it."""
        if full:
            return plan, (Way.FULL, "The full way was asked for.", ())
        choice = self._ways(plan, incoming, going)
        if choice[0] is Way.FULL and any(
            port.automatic and holds_port(one, port) for one in going for port in plan.launch.ports
        ):
            # What sleeps goes on listening: with another port it may be a sleep after all.
            beside = way_in.plan(going, keep_ports=True)
            again = self._ways(beside, incoming, going)
            if again[0] is Way.SLEEP:
                return beside, again
        return plan, choice

    def _outgoing(self, deployment: Deployment, plan: Plan, holdings: Holdings) -> Outgoing:
        running = runs(deployment)
        return Outgoing(
            deployment.name,
            deployment.runtime,
            deployment.id,
            running,
            deployment.gpus,
            holdings.of((deployment,)) if running else {},
            (_holds(deployment, plan) if running else "") or NAMED,
            self._drained_by(deployment.service) if running else "",
        )


def _holds(deployment: Deployment, plan: Plan) -> str:
    """What it has that the plan needs, e.g. `GPU 0, 1 and port 8000`."""
    gpus = [str(gpu.index) if gpu.index >= 0 else gpu.uuid for gpu in plan.placement if gpu.uuid in deployment.gpus]
    ports = [str(port.host_port) for port in plan.launch.ports if holds_port(deployment, port)]
    words = [f"GPU {', '.join(gpus)}"] if gpus else []
    return " and ".join([*words, f"port {', '.join(ports)}"] if ports else words)


def _warnings(outgoing: Outgoing, deployment: Deployment) -> Iterator[str]:
    name = outgoing.name
    if not outgoing.running:
        yield f"{name} does not run: it is only kept."
        return
    if untold := set(outgoing.gpus) - outgoing.frees_bytes.keys():
        count = f"{len(untold)} of its GPUs" if len(untold) < len(outgoing.gpus) else "its GPUs"
        yield f"How much memory of {count} {name} holds is not told: the plan counts all that is in use there as free."
    if deployment.removed_when_stopped:
        yield f"{name} was started with --rm: to stop it is to remove it, and to bring it back is to make it anew."
    if deployment.restarts_itself:
        yield f"{name} has a restart policy: it may come back when Docker starts, on the GPUs and ports that it had."


class _There:
    """The deployments of this machine, at one moment."""

    def __init__(self, runtimes: Mapping[str, Runtime]) -> None:
        self._runtimes = runtimes
        self.unreachable: dict[str, RuntimeUnreachable] = {}
        found: list[Deployment] = []
        silent: list[str] = []
        for runtime in runtimes.values():
            try:
                found += runtime.deployments()
            except RuntimeUnreachable as error:
                self.unreachable[runtime.name] = error
                silent.append(f"What runs on {runtime.name} is not counted: {error.what}")
        self._deployments = tuple(found)
        self.silent = tuple(silent)
        """What cannot be seen, and why"""

    @property
    def running(self) -> tuple[Deployment, ...]:
        return tuple(filter(runs, self._deployments))

    def named(self, name: str) -> Deployment | None:
        return max((one for one in self._deployments if one.name == name), key=precedence, default=None)

    def require(self, name: str) -> Deployment:
        """Raises `Refused` for what is not ours, `NotFound`, and `RuntimeUnreachable` where it may be unseen."""
        if found := self.named(name):
            return found
        said = clean_line(name)
        foreign = next((one for one in self.foreign() if name in (one.name, one.name.partition("/")[2])), None)
        if foreign or "/" in name:
            shown = foreign.name if foreign else said
            raise Refused(f"{shown} was started by hand and is not ours to stop.", adopt_hint(shown))
        if unseen := next(iter(self.unreachable.values()), None):
            raise RuntimeUnreachable(
                f"{said} is not among the deployments that can be seen. {unseen.what}", unseen.remedy
            )
        raise NotFound(f"{said} has not been started: there is no deployment of that name.", "See `tritontui ls`.")

    def foreign(self) -> tuple[Deployment, ...]:
        found: list[Deployment] = []
        for runtime in self._runtimes.values():
            try:
                found += runtime.foreign()
            except EngineError:
                continue  # it only helps to name what is in the way
        return tuple(found)
