"""The doctor: what a machine that serves models needs, one subject a file. It looks, and changes nothing."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from engine.catalog import Catalog
from engine.deployment import Deployment
from engine.diagnose.doctor import (
    cache,
    clock,
    container_toolkit,
    disk,
    docker_daemon,
    docker_socket,
    driver,
    driver_for_images,
    gpu_health,
    gpu_topology,
    gpu_users,
    images,
    limits,
    memory,
    ports,
    profiles,
    registry,
    shared_memory,
    terminal,
    tokens,
)
from engine.diagnose.doctor.check import Check, carry_out
from engine.diagnose.doctor.daemon import read_daemon, read_stock
from engine.diagnose.doctor.devices import read_driver
from engine.diagnose.doctor.facts import Facts, Once
from engine.diagnose.doctor.host import Host
from engine.diagnose.doctor.needs import read_needs
from engine.errors import EngineError
from engine.finding import Finding
from engine.observe.nvml import GpuUse
from engine.runtimes.base import Runtime
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.runtimes.docker_client import DockerConnection

_WAKING_S = 30.0
"""A driver that has to wake many GPUs takes long, and is well"""

CHECKS = (
    Check(driver.ID, "the driver", driver.look, _WAKING_S),
    Check(driver_for_images.ID, "the driver against images", driver_for_images.look, _WAKING_S),
    Check(gpu_health.ID, "the GPUs' health", gpu_health.look, _WAKING_S),
    Check(gpu_topology.ID, "how GPUs are joined", gpu_topology.look, _WAKING_S),
    Check(gpu_users.ID, "who uses the GPUs", gpu_users.look, _WAKING_S),
    Check(docker_daemon.ID, "Docker", docker_daemon.look),
    Check(docker_socket.ID, "Docker's socket", docker_socket.look),
    Check(container_toolkit.ID, "the container toolkit", container_toolkit.look, _WAKING_S),
    Check(images.ID, "images", images.look),
    Check(registry.ID, "logins to registries", registry.look),
    Check(shared_memory.ID, "shared memory", shared_memory.look),
    Check(disk.ID, "disks", disk.look),
    Check(cache.ID, "the cache of weights", cache.look),
    Check(tokens.ID, "secrets", tokens.look),
    Check(ports.ID, "ports", ports.look),
    Check(memory.ID, "memory", memory.look),
    Check(limits.ID, "limits", limits.look),
    Check(terminal.ID, "the terminal", terminal.look),
    Check(clock.ID, "the clock", clock.look),
    Check(profiles.ID, "profiles", profiles.look),
)


def examine(
    settings: Settings,
    catalog: Catalog,
    runtimes: Mapping[str, Runtime],
    uses: Callable[[], tuple[GpuUse, ...]],
    found: Callable[[Finding], None] = lambda _: None,
    profile: str | None = None,
) -> tuple[Finding, ...]:
    """Blocks for seconds. `profile`: only its needs, otherwise those of all. Returns the gravest first.

    Raises `NotFound`, or `InvalidProfile`, when the catalog has no such profile.
    """
    if profile is not None:
        catalog.get(profile)
    return carry_out(CHECKS, real_facts(settings, catalog, runtimes, uses, profile), found)


def real_facts(
    settings: Settings,
    catalog: Catalog,
    runtimes: Mapping[str, Runtime],
    uses: Callable[[], tuple[GpuUse, ...]],
    profile: str | None = None,
) -> Facts:
    def deployed() -> tuple[Deployment, ...]:
        found: list[Deployment] = []
        for runtime in runtimes.values():
            with contextlib.suppress(EngineError):  # the check of that runtime tells it
                found += runtime.deployments()
        return tuple(found)

    deployments = Once(deployed)
    needs = Once(lambda: read_needs(settings, catalog, [one.name for one in deployments()], profile))
    return Facts(
        host=Host(),
        settings=settings,
        needs=needs,
        daemon=Once(lambda: read_daemon(_docker())),
        stock=Once(lambda: read_stock(_docker(), needs().images)),
        driver=Once(read_driver),
        uses=Once(uses),
        deployments=deployments,
    )


def _docker() -> "DockerConnection":
    """Imported in a check's thread: the SDK takes long."""
    from engine.runtimes.docker_client import DockerConnection

    return DockerConnection()
