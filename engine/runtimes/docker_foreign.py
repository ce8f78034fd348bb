"""Model servers in containers that somebody started by hand: found among all that run, and only looked at."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.errors import EngineError, NotFound, OperationFailed
from engine.model_server import Started, may_be_server, recognised
from engine.runtimes.docker_client import DockerConnection
from engine.runtimes.docker_container import (
    FOREIGN,
    LABEL_GPUS,
    LABEL_SERVICE,
    LABEL_STACK,
    described,
    name_of,
    owned_name,
    word,
)
from engine.runtimes.gpu_uuids import uuids

_ANY = ("", "0.0.0.0")  # noqa: S104 (what is recognised)
_STACKS = {"vllm": "vllm", "tritonserver": "triton", "openai_frontend": "triton"}
_API_KEY = "VLLM_API_KEY"


def foreign(docker: DockerConnection, adopted: Collection[str]) -> tuple[Deployment, ...]:
    """Running ones; `adopted`: ids of those that are ours by a claim. One question, and one for each candidate.

    One that cannot be looked at is listed with the reason.
    """
    with docker.session("list the containers") as api:
        rows = api.containers()
    found = []
    for row in rows:
        if row.get("Id") in adopted or not _is_candidate(row):
            continue
        try:
            deployment = _look(docker, str(row.get("Id")))
        except EngineError as error:
            deployment = _unseen(row, str(error))
        if deployment:
            found.append(deployment)
    return tuple(sorted(found, key=lambda one: one.name))


def find(docker: DockerConnection, name: str, adopted: Collection[str]) -> Deployment:
    """By its name in `foreign`, also when it has ended meanwhile. Raises `NotFound`."""
    found = _look(docker, name.removeprefix(FOREIGN))
    if found is None or found.name != name or found.id in adopted:
        raise NotFound(f"Docker has no model server {name} that was started by hand.", "`tritontui ls` shows all.")
    return found


def _look(docker: DockerConnection, container: str) -> Deployment | None:
    report = docker.inspect(container)
    try:
        return of_report(report, local=docker.is_local) if report is not None else None
    except (TypeError, AttributeError, ValueError) as error:
        raise OperationFailed(f"Docker describes {word(container)} in an unknown way: {word(error)}.") from error


def of_report(report: Mapping[str, Any], *, local: bool) -> Deployment | None:
    """From an `inspect`; None when it is ours by its labels, or no model server."""
    config: Mapping[str, Any] = report.get("Config") or {}
    if owned_name(report.get("Name", ""), config.get("Labels")):
        return None
    words = [*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())]
    server = recognised(str(config.get("Image") or ""), list(map(str, words)))
    if server is None:
        return None
    reached = addresses(report, server)
    facts = {
        LABEL_STACK: _STACKS[server.server],
        LABEL_SERVICE: service_of(report, server, reached).to_json(),
        LABEL_GPUS: ",".join(_gpus(report)),
    }
    deployment = described(report, FOREIGN + name_of(report), facts, local=local)
    error = deployment.error or _unreached(server, reached)
    return replace(deployment, foreign=True, error=error)


def addresses(report: Mapping[str, Any], server: Started) -> dict[str, str]:
    """Purpose -> host:port where this machine reaches it; those that are not published are left out."""
    inside = server.ports()
    if (report.get("HostConfig") or {}).get("NetworkMode") == "host":
        return {purpose: f"127.0.0.1:{port}" for purpose, port in inside.items()}
    outside = published(report)
    return {purpose: _reached(*outside[port]) for purpose, port in inside.items() if port in outside}


def published(report: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Port in the container -> address and port on the machine, as they are now: also those that Docker has chosen."""
    ports: Mapping[str, Any] = (report.get("NetworkSettings") or {}).get("Ports") or {}
    found: dict[int, tuple[str, int]] = {}
    for inside, bindings in ports.items():
        number, _, kind = str(inside).partition("/")
        outside = [(str(one.get("HostIp") or ""), int(one.get("HostPort") or 0)) for one in bindings or ()]
        # Docker tells one that is published on every address twice, for IPv4 and for IPv6.
        outside.sort(key=lambda one: ":" in one[0])
        if kind in ("", "tcp") and outside and outside[0][1]:
            found[int(number)] = outside[0]
    return found


def service_of(report: Mapping[str, Any], server: Started, reached: Mapping[str, str]) -> Service:
    """The model is not told: the server is asked. A key is told by reference alone."""
    http = f"http://{reached['http']}" if "http" in reached else ""
    if server.server == "tritonserver":
        metrics = f"http://{reached['metrics']}/metrics" if "metrics" in reached else None
        health = f"{http}/v2/health/ready" if http else ""
        return Service(Protocol.TRITON, http, health, reached.get("grpc"), metrics)
    health = "/health" if server.server == "vllm" else "/health/ready"
    env = (report.get("Config") or {}).get("Env") or ()
    has_key = any(str(variable).startswith(f"{_API_KEY}=") for variable in env) or any(
        word.partition("=")[0] in ("--api-key", "--api_key") for word in server.words
    )
    return Service(
        Protocol.OPENAI,
        http,
        f"{http}{health}" if http else "",
        metrics=f"{http}/metrics" if http else None,
        api_key=f"env:{_API_KEY}" if has_key and server.server == "vllm" else None,
    )


def _is_candidate(row: Mapping[str, Any]) -> bool:
    """By what the list says. An image whose name another has now is listed by its id."""
    image = str(row.get("Image") or "")
    return may_be_server(image, str(row.get("Command") or "")) or image.startswith("sha256:")


def _reached(ip: str, port: int) -> str:
    host = "127.0.0.1" if ip in _ANY else "[::1]" if ip == "::" else f"[{ip}]" if ":" in ip else ip
    return f"{host}:{port}"


def _unreached(server: Started, reached: Mapping[str, str]) -> str:
    if "http" in reached:
        return ""
    port = server.ports().get("http")
    if port is None:
        return "It was started without HTTP, so it cannot be asked anything."
    return (
        f"Its port {port} is not published, so it cannot be asked anything. Start it with `-p 127.0.0.1:{port}:{port}`."
    )


def _gpus(report: Mapping[str, Any]) -> tuple[str, ...]:
    """UUIDs, where it was given GPUs by them."""
    requests = (report.get("HostConfig") or {}).get("DeviceRequests") or ()
    return uuids([str(device) for request in requests for device in request.get("DeviceIDs") or ()])


def _unseen(row: Mapping[str, Any], why: str) -> Deployment:
    names = [str(name).lstrip("/") for name in row.get("Names") or ()]
    return Deployment(
        name=FOREIGN + word(names[0] if names else str(row.get("Id"))[:12]),
        runtime="docker",
        stack="",
        id=str(row.get("Id")),
        what=word(row.get("Image") or ""),
        lifecycle=Lifecycle.RUNNING,
        service=Service(Protocol.OPENAI, "", ""),
        created_at=float(row.get("Created") or 0),
        error=why,
        foreign=True,
    )
