"""The ports that profiles name: free, or taken by whom."""

from collections.abc import Iterator

from engine.deployment import Lifecycle
from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed
from engine.errors import EngineError
from engine.finding import Finding, Severity

ID = "ports"


def look(facts: Facts) -> Iterator[Finding]:
    wanted: dict[tuple[str, int], list[str]] = {}
    for need in facts.needs().profiles:
        for binding in need.ports:
            wanted.setdefault((binding.host_ip, binding.host_port), []).append(need.name)
    ours = {
        port: one.name
        for one in facts.deployments()
        if one.lifecycle is Lifecycle.RUNNING
        for _, port in one.service.addresses()
    }
    free: list[int] = []
    serving: list[str] = []
    for (address, port), names in sorted(wanted.items()):
        if facts.host.is_free(address, port):
            free.append(port)
        elif port in ours:
            serving.append(f"{port} by {ours[port]}")
        else:
            yield _taken(facts, address, port, names)
    if serving:
        yield Finding(
            ID, "Ports of running models", Severity.INFO, f"Taken: {listed(serving, 8)}. A swap makes them free."
        )
    if free:
        yield Finding(ID, "Ports", Severity.OK, f"Free: {listed(sorted(set(free)), 12)}.")


def _taken(facts: Facts, address: str, port: int, names: list[str]) -> Finding:
    by = _container(facts, port) or facts.host.listener(port)
    return Finding(
        ID,
        f"Port {port} is taken",
        facts.needs().error,
        f"{listed(names)} want{'s' if len(names) == 1 else ''} {address}:{port}, where "
        + (f"{by} listens." if by else "somebody listens whom this user is not told."),
        "Stop it, or give the profile another port under `expose`, or `auto`.",
        f"sudo ss -ltnp 'sport = :{port}'",
    )


def _container(facts: Facts, port: int) -> str:
    try:
        name = facts.stock().ports.get(port)
    except EngineError:
        return ""
    return f"the container {name}" if name else ""
