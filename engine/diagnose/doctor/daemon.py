"""The Docker Engine, asked through the runtime's own connection."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import OperationFailed
from engine.runtimes.docker_container import word
from engine.text import clean_line

if TYPE_CHECKING:  # the SDK takes long to import
    from engine.runtimes.docker_client import DockerConnection


@dataclass(frozen=True, slots=True)
class Daemon:
    """As `docker version` and `docker info` tell it."""

    version: str = ""
    api: str = ""
    url: str = "unix:///var/run/docker.sock"
    local: bool = True
    """Its files are this machine's"""
    storage: str = ""
    cgroup_driver: str = ""
    cgroup_version: str = ""
    runtimes: tuple[str, ...] = ()
    default_runtime: str = ""
    root: str = ""
    log_driver: str = ""
    live_restore: bool = False
    swarm: bool = False
    security: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    cdi_devices: tuple[str, ...] = ()
    """Of NVIDIA's, as Docker 28.2 and later find them"""

    @property
    def rootless(self) -> bool:
        return "name=rootless" in self.security


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    names: tuple[str, ...]
    """Empty for what lost its name to a newer one"""
    size: int
    used: bool
    """There is a container of it"""


@dataclass(frozen=True, slots=True)
class Stock:
    """What Docker has on its disk, and which ports its containers have."""

    images: tuple[Image, ...] = ()
    env: Mapping[str, Mapping[str, str] | None] = field(default_factory=dict)
    """Variables of the images that were asked for; None for one that is not here"""
    ports: Mapping[int, str] = field(default_factory=dict)
    """Published port -> container"""


def read_daemon(docker: "DockerConnection") -> Daemon:
    """Raises what `DockerConnection.session` raises."""
    with docker.session("describe itself") as api:
        version: Mapping[str, Any] = api.version()
        info: Mapping[str, Any] = api.info()
        socket = getattr(api.get_adapter(api.base_url), "socket_path", "")
        url = f"unix://{socket}" if socket else api.base_url
    devices = (one for one in info.get("DiscoveredDevices") or () if isinstance(one, dict))
    return Daemon(
        version=word(version.get("Version") or ""),
        api=word(version.get("ApiVersion") or ""),
        url=clean_line(url),
        local=docker.is_local,
        storage=word(info.get("Driver") or ""),
        cgroup_driver=word(info.get("CgroupDriver") or ""),
        cgroup_version=word(info.get("CgroupVersion") or ""),
        runtimes=_words(info.get("Runtimes")),
        default_runtime=word(info.get("DefaultRuntime") or ""),
        root=clean_line(str(info.get("DockerRootDir") or "")),
        log_driver=word(info.get("LoggingDriver") or ""),
        live_restore=bool(info.get("LiveRestoreEnabled")),
        swarm=(info.get("Swarm") or {}).get("LocalNodeState") == "active",
        security=_words(info.get("SecurityOptions")),
        warnings=_words(info.get("Warnings")),
        cdi_devices=_words(str(one.get("ID", "")) for one in devices if "nvidia" in str(one.get("ID", ""))),
    )


def read_stock(docker: "DockerConnection", wanted: Iterable[str]) -> Stock:
    """`wanted`: images whose variables are asked for. Raises what `DockerConnection.session` raises."""
    from engine.runtimes.docker_create import image_report

    try:
        with docker.session("list its images and containers") as api:
            containers = api.containers(all=True)
            rows = api.images()
            reports = {image: image_report(api, image) for image in wanted}
        used = {str(one.get("ImageID")) for one in containers}
        images = tuple(
            Image(str(row["Id"]), _names(row), int(row.get("Size") or 0), str(row["Id"]) in used) for row in rows
        )
        ports = {
            int(port["PublicPort"]): word((one.get("Names") or ["?"])[0]).removeprefix("/")
            for one in containers
            for port in one.get("Ports") or ()
            if port.get("PublicPort")
        }
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise OperationFailed(f"Docker lists what it has in an unknown way: {word(error)}.") from error
    return Stock(images, {image: None if one is None else _env(one) for image, one in reports.items()}, ports)


def _names(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(clean_line(str(name)) for name in row.get("RepoTags") or () if name != "<none>:<none>")


def _env(report: Mapping[str, Any]) -> dict[str, str]:
    words = (clean_line(str(one)) for one in (report.get("Config") or {}).get("Env") or ())
    return dict(one.split("=", 1) for one in words if "=" in one)


def _words(values: Iterable[Any] | None) -> tuple[str, ...]:
    return tuple(word(value) for value in values or ())
