"""What holds what a deployment needs: its ports, and the memory of its GPUs."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from engine.deployment import Deployment, Lifecycle
from engine.errors import Refused
from engine.observe.gpu_processes import held, named
from engine.observe.nvml import GpuUse
from engine.plan import Plan, PortBinding
from engine.stacks.context import is_free
from engine.stacks.placement import NO_CREDIT, Credit

Deployments = tuple[Deployment, ...]


def runs(deployment: Deployment) -> bool:
    return deployment.lifecycle is Lifecycle.RUNNING


def holds_port(deployment: Deployment, port: PortBinding) -> bool:
    """A local server takes its ports when it has loaded, and nobody else may have them until then."""
    if port.host_port not in (number for _, number in deployment.service.addresses()):
        return False
    return deployment.runtime == "process" or not is_free(port.host_ip, port.host_port)


def adopt_hint(name: str) -> str:
    return f"`tritontui adopt {name}` makes it a deployment, which a swap can stop; or stop it as it was started."


class Holdings:
    """Who has which GPU's memory, at one moment."""

    def __init__(self, uses: tuple[GpuUse, ...], running: Deployments) -> None:
        self._uses = uses
        self._running = running

    def of(self, deployments: Iterable[Deployment]) -> dict[str, int]:
        """UUID -> bytes that these have together, of the GPUs of which that can be told."""
        names = frozenset(deployment.name for deployment in deployments)
        found: dict[str, int] = {}
        for use in self._uses:
            on_it = {deployment.name for deployment in self._running if use.uuid in deployment.gpus}
            listed = any(process.deployment in names for process in use.processes or ())
            if not listed and on_it.isdisjoint(names):
                continue
            size = held(names, use, alone=on_it <= names)
            if size is not None:
                found[use.uuid] = size
        return found

    def credit(self, deployments: Iterable[Deployment]) -> Credit:
        """What has ended has nothing to give."""
        going = [deployment for deployment in deployments if runs(deployment)]
        return Credit(frozenset(deployment.name for deployment in going), self.of(going))

    def strangers(self, plan: Plan) -> str:
        """What is no deployment of ours and has memory of the GPUs of a plan, by name; empty when nothing has."""
        placed = {gpu.uuid for gpu in plan.placement}
        ours = {deployment.name for deployment in self._running}
        found = [
            process
            for use in self._uses
            if use.uuid in placed
            for process in use.processes or ()
            if process.deployment not in ours
        ]
        return named(found)


class InTheWay:
    def __init__(
        self,
        name: str,
        planner: Callable[[Credit], Plan],
        running: Deployments,
        foreign: Callable[[], Deployments],
        holdings: Holdings,
    ) -> None:
        self._name = name
        self._planner = planner
        self._others = tuple(one for one in running if one.name != name)
        self._own = tuple(one for one in running if one.name == name)
        self._foreign = foreign
        self._holdings = holdings

    def plan(self, going: Deployments, *, keep_ports: bool = False) -> Plan:
        return self._planner(replace(self._holdings.credit(going), keep_ports=keep_ports))

    def found(self) -> Deployments:
        """What has to go, so that it can be started. Raises `Refused` when nothing has to, or it is unclear what."""
        plan = self._planner(NO_CREDIT)
        on_ports = tuple(one for one in self._others if any(holds_port(one, port) for port in plan.launch.ports))
        self.refuse_held_ports(plan, on_ports)
        if on_ports:
            plan = self.plan(on_ports)
        if plan.obstacles:
            return (*on_ports, *self._on_gpus(plan, on_ports))
        if on_ports:
            return on_ports
        beside = f" beside {_names(self._others)}" if self._others else ""
        raise Refused(
            f"Nothing holds what {self._name} needs: `tritontui up {self._name}` starts it{beside}.",
            "Name what is to go all the same with `--from`." if self._others else "",
        )

    def refuse_held_ports(self, plan: Plan, going: Deployments) -> None:
        """Raises `Refused` when a port is held by what does not go: no force helps."""
        leaving = (*self._own, *(one for one in going if runs(one)))
        for port in plan.launch.ports:
            what = f"Port {port.host_port} ({port.purpose}), which {self._name} needs, is held by"
            staying = next((one for one in self._others if one not in going and holds_port(one, port)), None)
            if staying:
                raise Refused(f"{what} {staying.name}, which is not to go.", "Name that too with `--from`.")
            if any(holds_port(one, port) for one in leaving) or is_free(port.host_ip, port.host_port):
                continue
            if foreign := next((one for one in self._foreign() if holds_port(one, port)), None):
                raise Refused(f"{what} {foreign.name}, which was started by hand.", adopt_hint(foreign.name))
            raise Refused(
                f"{what} a program that is no deployment of ours (`ss -ltnp sport = :{port.host_port}` shows it).",
                "End that, or give the profile another port under `expose`.",
            )

    def _on_gpus(self, plan: Plan, on_ports: Deployments) -> Deployments:
        """What has to go besides, so that the plan has no obstacle."""
        candidates = tuple(one for one in self._others if one.gpus and one not in on_ports)

        def suffices(going: Iterable[Deployment]) -> bool:
            return not self.plan((*on_ports, *going)).obstacles

        alone = tuple(one for one in candidates if suffices((one,)))
        if len(alone) == 1:
            return alone
        if alone:
            raise Refused(
                f"Each of {_names(alone)} would make room for {self._name} by itself.",
                "Say which is to go with `--from`.",
            )
        # Several have to go. Which, is clear only of those without which it fails even when all others go.
        needed = tuple(one for one in candidates if not suffices(other for other in candidates if other is not one))
        if needed and suffices(needed):
            return needed
        left = self.plan((*on_ports, *candidates))
        if not left.obstacles:
            raise Refused(_sentences(plan.obstacles), "Name what is to go with `--from`.")
        strangers = self._holdings.strangers(left)
        held_too = f"Its GPUs' memory is held by {strangers}, which a swap does not end." if strangers else ""
        raise Refused(f"No swap makes room for {self._name}. {_sentences(left.obstacles)}", held_too)


def _sentences(words: Iterable[str]) -> str:
    return " ".join(word.rstrip(".") + "." for word in words)


def _names(deployments: Deployments) -> str:
    return ", ".join(deployment.name for deployment in deployments)
