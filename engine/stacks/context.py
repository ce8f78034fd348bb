"""What every stack needs to make a plan, and the parts of a plan that are alike for all of them."""

import errno
import hashlib
import ipaddress
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.catalog import resolved
from engine.errors import InvalidProfile
from engine.fit.reserve import RESERVED
from engine.plan import GeneratedFile, Launch, Mount, Plan, PortBinding
from engine.stacks.mounts import own_mounts
from engine.stacks.placement import Machine, Placement, place

if TYPE_CHECKING:
    from engine.deployment import Service
    from engine.fit.result import Fit
    from engine.profile import Profile
    from engine.settings import Settings

MAX_AUTO_PORT_TRIES = 500
GIB = 1 << 30
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")
"""What Docker may take for one; anything else a command line would take for an option, or for several words"""
FILES_IN_CONTAINER = "/tritontui"
_CHOOSING_GPUS = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")
_BY_METRICS = ("failures", "waiting", "kv_cache", "ttft_p99")
"""Of a profile's `watch`"""
_LOADING_CODE = ("LD_PRELOAD", "LD_AUDIT")
DOCKER_ONLY = frozenset({"triton-trtllm"})
"""Stacks that need what only an image holds"""


@dataclass
class PlanContext:
    """One planning of one profile on one runtime."""

    profile: "Profile"
    path: Path
    digest: str
    runtime: str
    settings: "Settings"
    machine: Machine = field(default_factory=Machine)
    warnings: list[str] = field(default_factory=list)
    needs_bytes: Mapping[str, int] = field(default_factory=dict)
    """As in `Plan`, once the fit is made"""

    @property
    def on_docker(self) -> bool:
        return self.runtime == "docker"

    @property
    def host(self) -> str:
        """Where this machine reaches what is bound."""
        bind = self.profile.bind
        if ":" in bind:
            return "[::1]" if bind == "::" else f"[{bind}]"
        return "127.0.0.1" if bind == "0.0.0.0" else bind  # noqa: S104

    @property
    def is_open(self) -> bool:
        """Others on the network can reach its ports."""
        return not ipaddress.ip_address(self.profile.bind).is_loopback

    @property
    def files_root(self) -> str:
        """Where generated files are found by what is launched: absolute, in the container or on the machine."""
        if self.on_docker:
            return FILES_IN_CONTAINER
        return str(self.settings.deployment_files(self.profile.name))

    @property
    def reserve(self) -> float:
        """Share of each GPU's memory that is left to another job."""
        reserve = self.profile.reserve
        return RESERVED[reserve] if isinstance(reserve, str) else reserve

    @cached_property
    def placement(self) -> Placement:
        """Raises `InvalidProfile` when the machine lacks a GPU that is wanted."""
        return place(self.profile, self.machine)

    def resolve(self, path: str) -> Path:
        """Paths in a profile are relative to its file. Raises `InvalidProfile`."""
        try:
            return resolved(self.path.parent / Path(path).expanduser())
        except (OSError, RuntimeError) as error:
            raise InvalidProfile(f"{self.path}: {path} is no path: {error}.", "Correct it in the profile.") from error

    def invalid(self, what: str, remedy: str = "") -> InvalidProfile:
        """The error to raise, with the profile's file."""
        return InvalidProfile(f"{self.path}: {what}", remedy)

    def refuse(self, *keys: str) -> None:
        """Raises `InvalidProfile` for keys that the stack has no use for: they would do nothing."""
        given = [key for key in keys if getattr(self.profile, key)]
        if given:
            named = " and ".join(f"`{key}`" for key in given)
            raise self.invalid(f"{named} means nothing to the stack {self.profile.stack}.", "Take it out.")

    def ports(self, standard: dict[str, int]) -> tuple[PortBinding, ...]:
        """Binds each exposed purpose; with no `expose` all standard ones. Warns of ports that are taken."""
        expose = self.profile.expose
        wanted: dict[str, int | str] = dict(standard)
        if expose is not None:
            wanted = {purpose: port for purpose, port in expose.model_dump().items() if port is not None}
            strange = wanted.keys() - standard.keys()
            if strange:
                raise self.invalid(
                    f"`expose` names {', '.join(sorted(strange))}, which the stack {self.profile.stack}"
                    f"{' with the OpenAI frontend' if self.profile.frontend else ''} does not have.",
                    f"It has {', '.join(standard)}.",
                )
        bindings: list[PortBinding] = []
        used: set[int] = {port for port in wanted.values() if isinstance(port, int)}
        for purpose, port in wanted.items():
            if isinstance(port, str):
                port = self._own_port(purpose, used) or self._free_port(standard[purpose], used)
                used.add(port)
            elif not self._is_free(port):
                self.warnings.append(f"Port {port} ({purpose}) is in use on {self.profile.bind} right now.")
            bindings.append(
                PortBinding(
                    purpose,
                    self.profile.bind,
                    port,
                    standard[purpose] if self.on_docker else port,
                    automatic=isinstance(wanted[purpose], str),
                )
            )
        taken = [binding.host_port for binding in bindings]
        if len(set(taken)) != len(taken):
            raise self.invalid("`expose` gives one port to two purposes.", "Give each its own.")
        if self.is_open:
            self.warnings.append(f"Ports are bound to {self.profile.bind}: others on the network can reach them.")
        return tuple(bindings)

    def openai_endpoint(
        self, standard: dict[str, int], health: str, model: str, api_key: str | None = None
    ) -> "tuple[tuple[PortBinding, ...], Service]":
        """Of a server that has everything on one port: the API, its `health` and its metrics."""
        from engine.deployment import Protocol, Service

        ports = self.ports(standard)
        if not ports:
            raise self.invalid("`expose` leaves out http.", "The server has everything there.")
        http = f"http://{self.host}:{ports[0].host_port}"
        ready = self.profile.ready
        service = Service(
            protocol=Protocol.OPENAI,
            http=http,
            health=http + health,
            metrics=f"{http}/metrics",
            model=model,
            ready_timeout_s=ready.timeout,
            ready_prompt=ready.prompt,
            api_key=api_key,
        )
        return ports, service

    def _own_port(self, purpose: str, used: set[int]) -> int | None:
        """The one that it has, or had last if that is free."""
        port = self.machine.own_ports.get(purpose)
        if port is None or port in used or not (self.machine.own_runs or self._is_free(port)):
            return None
        return port

    def _free_port(self, preferred: int, used: set[int]) -> int:
        for port in range(preferred, preferred + MAX_AUTO_PORT_TRIES):
            if port not in used and self._is_free(port):
                return port
        raise InvalidProfile(
            f"No port from {preferred} to {preferred + MAX_AUTO_PORT_TRIES - 1} is free on {self.profile.bind}.",
            "State a free one under `expose`.",
        )

    def _is_free(self, port: int) -> bool:
        if port in self.machine.claimed_ports:
            return False
        return port in self.machine.freed_ports or is_free(self.profile.bind, port)

    def launch(
        self,
        *,
        command: tuple[str, ...],
        service: "Service",
        ports: tuple[PortBinding, ...],
        entrypoint: tuple[str, ...] | None = None,
        env: Mapping[str, str] | None = None,
        mounts: tuple[Mount, ...] = (),
        files: tuple[GeneratedFile, ...] = (),
        default_shm: int | None = None,
        ulimits: Mapping[str, int] | None = None,
    ) -> Launch:
        profile = self.profile
        if profile.ipc and profile.shm_size:
            raise self.invalid("`ipc: host` and `shm_size` exclude each other.", "Take one of them out.")
        if twice := sorted(profile.env.keys() & profile.secrets.keys()):
            raise self.invalid(f"{twice[0]} stands under `env` and under `secrets`.", "Take one of them out.")
        self._warn_of_variables()
        docker = self.on_docker
        return Launch(
            name=profile.name,
            stack=profile.stack,
            runtime=self.runtime,
            command=command,
            service=service,
            image=self.image() if docker else None,
            entrypoint=entrypoint,
            env={**(env or {}), **profile.env},
            secrets=dict(profile.secrets),
            ports=ports,
            mounts=(*mounts, *own_mounts(self, mounts)) if docker else (),
            files=files,
            files_root=self.files_root if files else "",
            gpus=self.placement.gpus,
            shm_bytes=(profile.shm_size or default_shm) if docker and not profile.ipc else None,
            host_ipc=docker and profile.ipc == "host",
            # A Docker that runs without the right to raise limits, as in a container, refuses to start what wants them.
            ulimits=dict(ulimits or {}) if docker and self.placement.gpus else {},
            profile_digest=_digest(self.digest, files),
            source_digest=self.digest,
            gpus_wanted=",".join(map(str, profile.gpus)) if isinstance(profile.gpus, list) else str(profile.gpus),
        )

    def plan(self, launch: Launch, fit: "Fit | None" = None, versions: Mapping[str, str] | None = None) -> Plan:
        from engine.fit.result import Verdict

        self._warn_of_watch(launch.service)
        obstacles = self.placement.obstacles
        if fit and fit.verdict is Verdict.DOES_NOT_FIT:
            obstacles = (*obstacles, fit.summary)
        return Plan(
            launch,
            str(self.path),
            self.profile.summary,
            tuple(self.warnings),
            possible_runtimes(self.profile),
            obstacles,
            self.placement.placed,
            fit,
            versions or {},
            self._digest_of_all(launch),
            self.needs_bytes,
            self.profile.model,
        )

    def _digest_of_all(self, launch: Launch) -> str:
        from engine.drift import launch_facts

        placed = sorted(gpu.uuid for gpu in self.placement.placed)
        return hashlib.sha256("\n".join((launch_facts(launch), *placed)).encode()).hexdigest()[:16]

    def image(self) -> str:
        if not self.profile.image:
            raise self.invalid("`image` is missing.", "Name the container image to run it on Docker.")
        if not _IMAGE.fullmatch(self.profile.image):
            raise self.invalid(f"`image: {self.profile.image}` is no name of an image.", "Write repository:tag.")
        return self.profile.image

    def _warn_of_watch(self, service: "Service") -> None:
        """Of limits that the profile states, and that nothing which the server reports can pass."""
        watch = self.profile.watch
        stated = [name for name in _BY_METRICS if name in watch.model_fields_set and getattr(watch, name) is not None]
        if stated and not service.metrics:
            named = ", ".join(f"`watch.{name}`" for name in stated)
            self.warnings.append(f"{named} cannot be told without metrics: add `metrics` under `expose`.")
        elif "kv_cache" in stated and self.profile.stack == "triton-vllm":
            self.warnings.append("`watch.kv_cache` is never told: Triton's vLLM backend does not report its KV cache.")

    def _warn_of_variables(self) -> None:
        for name in self.profile.env:
            if name in _CHOOSING_GPUS:
                self.warnings.append(
                    f"`env: {name}` chooses GPUs beside `gpus`: what this plan says of them may be wrong."
                )
            elif name in _LOADING_CODE:
                self.warnings.append(f"`env: {name}` loads {self.profile.env[name]} into every program of the server.")


def _digest(of_profile: str, files: tuple[GeneratedFile, ...]) -> str:
    """What was made from the same profile by an earlier tritontui may hold other files, and is then made anew."""
    if not files:
        return of_profile
    written = json.dumps([of_profile, *((file.path, file.text, file.executable) for file in files)])
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def possible_runtimes(profile: "Profile") -> tuple[str, ...]:
    """The profile's own runtime first."""
    if profile.stack in DOCKER_ONLY:
        return ("docker",)
    others = ("process",) if profile.runtime == "docker" else ("docker",) if profile.image else ()
    return (profile.runtime, *others)


def option_words(key: str, value: Any) -> str:
    """An option's value as a command line takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"))
    if value is None:
        raise InvalidProfile(f"The engine option `{key}` has no value.", "Give it one, or take the line out.")
    return str(value)


def is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        # An address that is not this machine's, or a port that this user may not bind and Docker may, is the server's
        # to complain about, with its own words.
        return error.errno != errno.EADDRINUSE
    return True
