"""A `tritonserver` on a model repository: its ports, options and addresses, whoever made the repository."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from engine.deployment import Protocol, Service
from engine.plan import GeneratedFile, Launch, Mount, PortBinding
from engine.stacks.context import GIB, PlanContext, option_words
from engine.stacks.server_options import check_options

if TYPE_CHECKING:
    from engine.stacks.local_triton import LocalTriton

PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
SWITCHES = {"http": "--allow-http", "grpc": "--allow-grpc", "metrics": "--allow-metrics"}
ULIMITS = {"memlock": -1, "stack": 67108864}
"""As the run lines in the documentation of NVIDIA's Triton images have them; stack in bytes"""
BARE_FLAG = "--disable-auto-complete-config"
"""The one option that takes no value (server, command_line_parser.cc); with one the server does not start"""
_MODEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
OWN_KEYS = {
    "model_repository": "`repository`",
    "model_store": "`repository`",
    **{f"{purpose}_port": "`expose`" for purpose in PORTS},
    **{f"allow_{purpose}": "`expose`" for purpose in PORTS},
    **{f"{purpose}_address": "`bind`" for purpose in PORTS},
}
"""Options that other keys of a profile say"""


@dataclass(frozen=True, slots=True)
class Endpoints:
    ports: tuple[PortBinding, ...]
    service: Service

    @property
    def by_purpose(self) -> dict[str, PortBinding]:
        return {port.purpose: port for port in self.ports}


def endpoints(context: PlanContext, model: str | None, *, explicit: bool) -> Endpoints:
    """`model`: the one that prompts go to. `explicit`: models are loaded and unloaded while the server runs.

    Raises `InvalidProfile` when http is not exposed.
    """
    profile = context.profile
    ports = context.ports(PORTS)
    urls = {port.purpose: f"http://{context.host}:{port.host_port}" for port in ports}
    if "http" not in urls:
        raise context.invalid("`expose` leaves out http.", "tritontui asks for readiness over HTTP.")
    service = Service(
        protocol=Protocol.TRITON,
        http=urls["http"],
        # With explicit control the server is "not ready" while any other model loads, and after one failed to.
        health=f"{urls['http']}/v2/{f'models/{quote(model)}' if explicit and model else 'health'}/ready",
        grpc=urls["grpc"].removeprefix("http://") if "grpc" in urls else None,
        metrics=f"{urls['metrics']}/metrics" if "metrics" in urls else None,
        model=model,
        ready_timeout_s=profile.ready.timeout,
        ready_prompt=profile.ready.prompt,
    )
    return Endpoints(ports, service)


def model_name(context: PlanContext) -> str:
    """Of the one model that a stack makes a repository for. Raises `InvalidProfile` for what can be no folder's."""
    name = context.profile.served_model_name or context.profile.name
    if not _MODEL_NAME.fullmatch(name):
        raise context.invalid(
            f"`served_model_name: {name}` is no name for a model on Triton, where it names a folder.",
            "Use letters, digits, dots, dashes and underscores.",
        )
    return name


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
    default_shm: int = GIB,
) -> Launch:
    """`repository` as the server sees it; `options` as `named` gives them.

    Raises `InvalidProfile`, on the process runtime also without a server.
    """
    refuse_open_control(context, options)
    ends = endpoints(context, model, explicit=is_explicit(options))
    if context.on_docker:
        command = ("tritonserver", f"--model-repository={repository}", *switches(ends), *option_line(options))
        return context.launch(
            command=command,
            service=ends.service,
            ports=ends.ports,
            env=env,
            mounts=mounts,
            files=files,
            default_shm=default_shm,
            ulimits=ULIMITS,
        )

    local = local_server(context)
    arguments = local.arguments
    if "backend_directory" in options:
        options = {**options, "backend_directory": str(backends(context, options))}
        arguments = tuple(word for word in arguments if not word.startswith("--backend-directory="))
    addresses = [
        word
        for purpose, port in ends.by_purpose.items()
        for word in (f"--{purpose}-port={port.host_port}", f"--{purpose}-address={_address(purpose, port.host_ip)}")
    ]
    command = (
        local.program,
        f"--model-repository={repository}",
        *arguments,
        *addresses,
        *switches(ends),
        # Servers on one machine share /dev/shm; without names of their own they take each other's regions.
        f"--backend-config=python,shm-region-prefix-name=tritontui_{context.profile.name}",
        *option_line(options),
    )
    return context.launch(
        command=command, service=ends.service, ports=ends.ports, files=files, env={**local.env, **(env or {})}
    )


def named(context: PlanContext, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their names with underscores. Raises `InvalidProfile` for those that are wrong or said elsewhere."""
    plain = {key.replace("-", "_"): value for key, value in options.items()}
    if len(plain) < len(options):
        raise context.invalid("an option of tritonserver stands twice, with `-` and with `_`.", "Take one of them out.")
    for key in plain:
        if key in OWN_KEYS:
            raise context.invalid(f"`{key}` is no option to give.", f"Say it by the profile's {OWN_KEYS[key]}.")
    check_options(context, plain)
    if "load_model" in plain and not is_explicit(plain):
        raise context.invalid(
            "`load_model` needs explicit model control.", "Add `model_control_mode: explicit`, or take it out."
        )
    return plain


def is_explicit(options: Mapping[str, Any]) -> bool:
    """Models are loaded by name, at start and later."""
    return options.get("model_control_mode") == "explicit"


def loading(options: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The options, and with explicit control the model among those that are loaded at start."""
    given = options.get("load_model", [])
    named = [str(one) for one in (given if isinstance(given, list) else [given])]
    if not is_explicit(options) or model in named or "*" in named:
        return dict(options)
    return {**options, "load_model": [*named, model]}


def local_server(context: PlanContext) -> "LocalTriton":
    """For the process runtime. Raises `InvalidProfile` when there is none."""
    from engine.stacks.local_triton import find_tritonserver

    return find_tritonserver(context.settings, context.profile.program)


def backends(context: PlanContext, options: Mapping[str, Any]) -> Path | None:
    """The folder of the local server's backends; None on Docker, where it is the image's. Raises `InvalidProfile`."""
    if context.on_docker:
        return None
    given = options.get("backend_directory")
    return context.resolve(str(given)) if given else local_server(context).backends


def refuse_open_control(context: PlanContext, options: Mapping[str, Any]) -> None:
    """Raises `InvalidProfile` when anybody on the network could load and unload models."""
    mode = options.get("model_control_mode", "none")
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
        if flag == BARE_FLAG and isinstance(value, bool):
            words += [flag] if value else []
            continue
        words += [f"{flag}={option_words(key, item)}" for item in (value if isinstance(value, list) else [value])]
    return words


def _address(purpose: str, ip: str) -> str:
    """As the library behind each of the server's endpoints wants it."""
    if ":" not in ip:
        return ip
    return f"[{ip}]" if purpose == "grpc" else f"ipv6:{ip}"
