"""From a launch to the container that Docker creates."""

import math

from docker import APIClient
from docker.errors import ImageNotFound
from docker.types import DeviceRequest, HostConfig, Mount

from engine.errors import Refused
from engine.plan import Launch
from engine.runtimes.docker_container import labels


def create_container(api: APIClient, launch: Launch, secrets: dict[str, str]) -> None:
    """Raises `Refused` for an image that is not here, and what the SDK raises."""
    try:
        api.create_container(
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
        raise Refused(
            f"The image {launch.image} is not on this machine.", f"Fetch it with `docker pull {launch.image}`."
        ) from error


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
        init=True,
    )


def _gpus(gpus: int | tuple[str, ...]) -> list[DeviceRequest]:
    if not gpus:
        return []
    chosen = {"device_ids": list(gpus)} if isinstance(gpus, tuple) else {"count": gpus}
    return [DeviceRequest(capabilities=[["gpu"]], **chosen)]
