"""A container of this machine's Docker Engine as somebody ran it. It is only looked at."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from engine.authoring.docker_flags import REASONS
from engine.authoring.spec import ContainerSpec, Published
from engine.errors import NotFound, OperationFailed
from engine.plan import Mount
from engine.text import clean_line

DEFAULT_SHM = 64 << 20
"""What Docker gives a container that asks for nothing; bytes"""
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_NO_KEY = "no profile says it"
_USUAL_NETWORKS = ("default", "bridge", "host")


def from_container(name: str) -> ContainerSpec:
    """`name`: or the beginning of its id.

    Raises `NotFound`, `RuntimeUnreachable`, and `OperationFailed` when Docker describes it in an unknown way.
    """
    report, image = inspected(name)
    try:
        return of_report(report, image)
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        raise OperationFailed(f"Docker describes {clean_line(name)} in an unknown way: {error}.") from error


def inspected(name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """What Docker says of the container, and of its image: nothing when that is gone.

    Raises `NotFound`, `RuntimeUnreachable`, and `OperationFailed`.
    """
    from docker.errors import ImageNotFound

    from engine.runtimes.docker_client import DockerConnection

    connection = DockerConnection()
    report = connection.inspect(name)
    if report is None:
        raise NotFound(f"Docker has no container {clean_line(name)}.", "`docker ps -a` shows those that there are.")
    image: Mapping[str, Any] = {}
    # When it was removed from under the container, what it set is taken for the container's own.
    with connection.session(f"look at the image of {clean_line(name)}") as api, suppress(ImageNotFound):
        image = api.inspect_image(str(report.get("Image", "")))  # type: ignore[no-untyped-call]
    return report, image


def of_report(report: Mapping[str, Any], image: Mapping[str, Any]) -> ContainerSpec:
    """From the answers of `docker inspect`; `image` may be empty."""
    config, host = report["Config"], report["HostConfig"]
    own: Mapping[str, Any] = image.get("Config") or {}
    given = [variable for variable in config.get("Env") or [] if variable not in (own.get("Env") or [])]
    network = host.get("NetworkMode") or "default"
    return ContainerSpec(
        image=config["Image"],
        arguments=tuple(config.get("Cmd") or ()),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        name=str(report.get("Name", "")).removeprefix("/"),
        ports=tuple(_ports(host.get("PortBindings") or {})),
        host_network=network == "host",
        mounts=tuple(_mounts(report.get("Mounts") or [])),
        env={name: value for name, _, value in (variable.partition("=") for variable in given)},
        gpus=_gpus(host.get("DeviceRequests") or []),
        nvidia_runtime=host.get("Runtime") == "nvidia",
        shm_bytes=size if (size := host.get("ShmSize")) != DEFAULT_SHM else None,
        host_ipc=host.get("IpcMode") == "host",
        working_dir=config.get("WorkingDir") or "",
        left_out=tuple(f"`--{flag}` is left out: {REASONS.get(flag, _NO_KEY)}." for flag in _others(config, host, own)),
    )


def _ports(bindings: Mapping[str, Any]) -> list[Published]:
    found: list[Published] = []
    for inside, outside in bindings.items():
        port, _, kind = inside.partition("/")
        if kind in ("", "tcp"):
            found += [
                Published(int(port), int(one.get("HostPort") or 0) or None, one.get("HostIp") or "")
                for one in outside or []
            ]
    return found


def _mounts(mounts: list[Mapping[str, Any]]) -> list[Mount]:
    """Volumes without a name of their own hold nothing that another container could be given."""
    found: list[Mount] = []
    for mount in mounts:
        source = mount.get("Name") if mount.get("Type") == "volume" else mount.get("Source")
        if source and mount.get("Type") in ("bind", "volume") and not _ANONYMOUS.fullmatch(source):
            target = mount["Destination"]
            found.append(Mount(source, target.rstrip("/") or "/", not mount.get("RW", True)))
    return found


def _gpus(requests: list[Mapping[str, Any]]) -> str:
    for request in requests:
        if any("gpu" in group for group in request.get("Capabilities") or []) or request.get("Driver") == "nvidia":
            devices = request.get("DeviceIDs") or []
            count = int(request.get("Count") or 0)
            return f'"device={",".join(devices)}"' if devices else "all" if count < 0 else str(count)
    return ""


def _others(config: Mapping[str, Any], host: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Options of `docker run` that it was given, and that no profile has."""
    given = {
        "privileged": host.get("Privileged"),
        "cap-add": host.get("CapAdd"),
        "security-opt": [one for one in host.get("SecurityOpt") or [] if one != "label=disable"],
        "restart": (host.get("RestartPolicy") or {}).get("Name") not in ("", "no", None),
        "user": config.get("User") and config.get("User") != own.get("User"),
        "workdir": config.get("WorkingDir") and config.get("WorkingDir") != own.get("WorkingDir"),
        "network": host.get("NetworkMode") and host["NetworkMode"] not in _USUAL_NETWORKS,
        "pid": host.get("PidMode"),
        "memory": host.get("Memory"),
        "cpus": host.get("NanoCpus") or host.get("CpuQuota"),
        "device": host.get("Devices"),
        "tmpfs": host.get("Tmpfs"),
        "volumes-from": host.get("VolumesFrom"),
    }
    return [flag for flag, value in given.items() if value]
