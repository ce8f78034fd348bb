"""A `tritonserver` on a model repository: its ports, options and addresses, whoever made the repository."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.deployment import Protocol, Service
from engine.plan import GeneratedFile, Launch, Mount, PortBinding
from engine.stacks.context import GIB, PlanContext, option_words

PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
SWITCHES = {"http": "--allow-http", "grpc": "--allow-grpc", "metrics": "--allow-metrics"}
ULIMITS = {"memlock": -1, "stack": 67108864}
"""As the run lines in the documentation of NVIDIA's Triton images have them; stack in bytes"""


@dataclass(frozen=True, slots=True)
class Endpoints:
    ports: tuple[PortBinding, ...]
    service: Service

    @property
    def by_purpose(self) -> dict[str, PortBinding]:
        return {port.purpose: port for port in self.ports}


def endpoints(context: PlanContext, model: str | None) -> Endpoints:
    """`model`: the one that prompts go to. Raises `InvalidProfile` when http is not exposed."""
    profile = context.profile
    ports = context.ports(PORTS)
    urls = {port.purpose: f"http://{context.host}:{port.host_port}" for port in ports}
    if "http" not in urls:
        raise context.invalid("`expose` leaves out http.", "tritontui asks for readiness over HTTP.")
    service = Service(
        protocol=Protocol.TRITON,
        http=urls["http"],
        health=f"{urls['http']}/v2/health/ready",
        grpc=urls["grpc"].removeprefix("http://") if "grpc" in urls else None,
        metrics=f"{urls['metrics']}/metrics" if "metrics" in urls else None,
        model=model,
        ready_timeout_s=profile.ready.timeout,
        ready_prompt=profile.ready.prompt,
    )
    return Endpoints(ports, service)


def switches(ends: Endpoints) -> list[str]:
    """What is not exposed is not opened either."""
    return [f"{switch}=false" for purpose, switch in SWITCHES.items() if purpose not in ends.by_purpose]


def launch(
    context: PlanContext,
    *,
    repository: str,
    model: str | None,
    options: Mapping[str, Any],
    mounts: tuple[Mount, ...] = (),
    files: tuple[GeneratedFile, ...] = (),
    env: Mapping[str, str] | None = None,
) -> Launch:
    """`repository` as the server sees it. Raises `InvalidProfile`, on the process runtime also without a server."""
    refuse_open_control(context, options)
    ends = endpoints(context, model)
    if context.on_docker:
        command = ("tritonserver", f"--model-repository={repository}", *switches(ends), *option_line(options))
        return context.launch(
            command=command,
            service=ends.service,
            ports=ends.ports,
            env=env,
            mounts=mounts,
            files=files,
            default_shm=GIB,
            ulimits=ULIMITS,
        )

    from engine.stacks.local_triton import find_tritonserver

    local = find_tritonserver(context.settings, context.profile.program)
    addresses = [
        word
        for purpose, port in ends.by_purpose.items()
        for word in (f"--{purpose}-port={port.host_port}", f"--{purpose}-address={_address(purpose, port.host_ip)}")
    ]
    command = (
        local.program,
        f"--model-repository={repository}",
        *local.arguments,
        *addresses,
        *switches(ends),
        # Servers on one machine share /dev/shm; without names of their own they take each other's regions.
        f"--backend-config=python,shm-region-prefix-name=tritontui_{context.profile.name}",
        *option_line(options),
    )
    return context.launch(
        command=command, service=ends.service, ports=ends.ports, files=files, env={**local.env, **(env or {})}
    )


def refuse_open_control(context: PlanContext, options: Mapping[str, Any]) -> None:
    """Raises `InvalidProfile` when anybody on the network could load and unload models."""
    mode = options.get("model_control_mode", options.get("model-control-mode", "none"))
    if mode != "none" and context.is_open:
        raise context.invalid(
            f"`model_control_mode: {mode}` lets whoever reaches {context.profile.bind} change what is loaded.",
            "Bind to 127.0.0.1, or take the option out.",
        )


def option_line(options: Mapping[str, Any]) -> list[str]:
    """`log_verbose: 1` becomes `--log-verbose=1`; a list repeats the option, as tritonserver wants it."""
    words: list[str] = []
    for key, value in options.items():
        flag = "--" + key.replace("_", "-")
        words += [f"{flag}={option_words(key, item)}" for item in (value if isinstance(value, list) else [value])]
    return words


def _address(purpose: str, ip: str) -> str:
    """As the library behind each of the server's endpoints wants it."""
    if ":" not in ip:
        return ip
    return f"[{ip}]" if purpose == "grpc" else f"ipv6:{ip}"
