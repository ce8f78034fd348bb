"""What `docker inspect` says of containers that nobody started."""

from pathlib import Path
from typing import Any

from engine.deployment import Deployment
from engine.runtimes.docker_foreign import of_report
from engine.settings import Settings

TRITON = "nvcr.io/nvidia/tritonserver:25.12-py3"
VLLM = "vllm/vllm-openai:v0.11.0"
TOKEN = "hf_" + "a1B2" * 6
BEGAN = "2026-01-02T03:04:05.123456789Z"
AGAIN = "2026-01-02T04:04:05.123456789Z"


def settings_in(folder: Path) -> Settings:
    return Settings(folder / "config", folder / "state", folder / "cache", (), folder)


def report(image: str, *command: str, name: str = "by-hand", **changes: Any) -> dict[str, Any]:
    """As `docker inspect` has it. `ports`: of the container -> address and port of the machine."""
    ports: dict[int, tuple[str, int]] = changes.pop("ports", {})
    bound = {f"{port}/tcp": [{"HostIp": ip, "HostPort": str(outside)}] for port, (ip, outside) in ports.items()}
    config = {
        "Image": image,
        "Cmd": list(command),
        "Entrypoint": changes.pop("entrypoint", None),
        "Env": changes.pop("env", []),
        "Labels": changes.pop("container_labels", {}),
    }
    state = {"Status": "running", "Running": True, "StartedAt": BEGAN, "Pid": 42} | changes.pop("state", {})
    return {
        "Id": f"id-of-{name}",
        "Name": f"/{name}",
        "Created": BEGAN,
        "Image": "sha256:1",
        "Config": config,
        "State": state,
        "HostConfig": {"PortBindings": bound, "NetworkMode": "bridge"} | changes.pop("host", {}),
        "NetworkSettings": {"Ports": {**bound, "9/udp": None}},
        "Mounts": changes.pop("mounts", []),
    }


def seen(one: dict[str, Any]) -> Deployment:
    found = of_report(one, local=True)
    assert found
    return found
