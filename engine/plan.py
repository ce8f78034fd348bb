"""A plan: what starting a profile would do, computed and printed before anything is done."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.deployment import Service

CONTAINER_PREFIX = "tritontui-"


@dataclass(frozen=True, slots=True)
class PortBinding:
    purpose: str
    """http, grpc or metrics"""
    host_ip: str
    host_port: int
    container_port: int
    """Equal to host_port on the process runtime"""


@dataclass(frozen=True, slots=True)
class Mount:
    source: str
    """Absolute path on the machine, or a volume's name"""
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a runtime needs to create a deployment; the same for every runtime."""

    name: str
    stack: str
    runtime: str
    command: tuple[str, ...]
    """Docker: arguments after the image. Process: the whole command line, program first."""
    service: Service
    image: str | None = None
    entrypoint: tuple[str, ...] | None = None
    """Docker only; None keeps the image's own"""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable -> reference (`env`, `env:OTHER` or `file:PATH`); resolved by the runtime at launch, never stored"""
    ports: tuple[PortBinding, ...] = ()
    mounts: tuple[Mount, ...] = ()
    gpus: int | tuple[str, ...] = 0
    """A count, or indices/UUIDs; 0 for none, -1 for all"""
    shm_bytes: int | None = None
    stop_timeout_s: float = 45.0
    """Longer than Triton's own 30 s exit timeout, so that it is not killed in the middle of its shutdown"""
    profile_digest: str = ""

    @property
    def container_name(self) -> str:
        return CONTAINER_PREFIX + self.name


@dataclass(frozen=True, slots=True)
class Plan:
    launch: Launch
    source: str
    """The profile's file"""
    summary: str = ""
    warnings: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    """Every runtime on which this profile could be started"""

    def command_line(self) -> str:
        """A line that does the same when pasted in a shell; secrets stay references."""
        launch = self.launch
        if launch.runtime == "process":
            words = ["env", *(f"{key}={value}" for key, value in sorted(launch.env.items()))] if launch.env else []
            return shlex.join([*words, *launch.command])
        return shlex.join(_docker_run(launch))


def _docker_run(launch: Launch) -> list[str]:
    words = ["docker", "run", "-d", "--init", "--name", launch.container_name]
    if launch.gpus:
        if isinstance(launch.gpus, tuple):
            words += ["--gpus", '"device=' + ",".join(launch.gpus) + '"']
        else:
            words += ["--gpus", "all" if launch.gpus < 0 else str(launch.gpus)]
    if launch.shm_bytes:
        words += ["--shm-size", f"{launch.shm_bytes}b"]
    words += ["--stop-timeout", str(int(launch.stop_timeout_s))]
    for port in launch.ports:
        ip = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
        words += ["-p", f"{ip}:{port.host_port}:{port.container_port}"]
    for mount in launch.mounts:
        words += ["-v", f"{mount.source}:{mount.target}" + (":ro" if mount.read_only else "")]
    for key, value in sorted(launch.env.items()):
        words += ["-e", f"{key}={value}"]
    for key in sorted(launch.secrets):
        words += ["-e", key]
    if launch.entrypoint:
        words += ["--entrypoint", launch.entrypoint[0]]
    return [*words, launch.image or "", *(launch.entrypoint or ())[1:], *launch.command]
