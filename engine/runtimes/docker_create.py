"""From a launch to the container that Docker creates, and what is asked of its image."""

import math
import shutil
from typing import Any

from docker import APIClient
from docker.errors import ImageNotFound
from docker.types import DeviceRequest, HostConfig, Mount, Ulimit

from engine.errors import Refused
from engine.plan import Launch
from engine.runtimes.docker_container import labels
from engine.text import clean_line

LEAST_FREE = 32 << 20
"""Bytes; what Docker itself writes for a container that is made and started is less"""


def create_container(api: APIClient, launch: Launch, secrets: dict[str, str]) -> str:
    """Returns its id. Raises `Refused` for an image that is not here, and what the SDK raises."""
    try:
        created = api.create_container(
            launch.image,
            list(launch.command),
            name=launch.container_name,
            entrypoint=list(launch.entrypoint) if launch.entrypoint else None,
            environment={**launch.env, **secrets},
            labels=labels(launch),
            ports=[(port.container_port, "tcp") for port in launch.ports],
            stop_timeout=math.ceil(launch.stop_timeout_s),
            host_config=_host_config(api, launch),
        )
    except ImageNotFound as error:
        raise Refused(image_missing(launch.image or "")) from error
    return str(created["Id"])


def image_missing(image: str) -> str:
    return f"The image {image} is not on this machine. Fetch it with `docker pull {image}`."


def no_room(api: APIClient) -> str:
    """What to do about a full disk of the engine's; empty when it has room, or that cannot be told from here."""
    root = str(api.info().get("DockerRootDir") or "")
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return ""
    if free >= LEAST_FREE:
        return ""
    return (
        f"Docker's disk is full: {free >> 20} MiB are free in {clean_line(root)}. "
        "Free disk space: `docker system df` shows what takes it."
    )


def image_report(api: APIClient, image: str) -> dict[str, Any] | None:
    """None when the image is not here. Raises what the SDK raises."""
    try:
        return dict(api.inspect_image(image))  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return None


def _host_config(api: APIClient, launch: Launch) -> HostConfig:
    return api.create_host_config(
        port_bindings={f"{port.container_port}/tcp": [(port.host_ip, port.host_port)] for port in launch.ports},
        mounts=[
            # Refused when the source is missing, where `-v` would make an empty folder that belongs to root.
            Mount(
                mount.target,
                mount.source,
                type="bind" if mount.source.startswith("/") else "volume",
                read_only=mount.read_only,
            )
            for mount in launch.mounts
        ],
        device_requests=_gpus(launch.gpus),
        shm_size=launch.shm_bytes,
        ipc_mode="host" if launch.host_ipc else None,
        ulimits=[Ulimit(name=name, soft=limit, hard=limit) for name, limit in sorted(launch.ulimits.items())],
        init=True,
    )


def _gpus(gpus: int | tuple[str, ...]) -> list[DeviceRequest]:
    if not gpus:
        return []
    chosen = {"device_ids": list(gpus)} if isinstance(gpus, tuple) else {"count": gpus}
    return [DeviceRequest(capabilities=[["gpu"]], **chosen)]
