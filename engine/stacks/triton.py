"""The stack `triton`: a Triton Inference Server on any model repository."""

from engine.deployment import Protocol, Service
from engine.errors import InvalidProfile
from engine.plan import Mount, Plan
from engine.stacks.context import GIB, PlanContext, option_words

PORTS = {"http": 8000, "grpc": 8001, "metrics": 8002}
REPOSITORY_IN_CONTAINER = "/models"
SWITCHES = {"http": "--allow-http", "grpc": "--allow-grpc", "metrics": "--allow-metrics"}


def plan(context: PlanContext) -> Plan:
    """Raises `InvalidProfile` when there is no repository, or on the process runtime no tritonserver."""
    profile = context.profile
    if not profile.repository:
        raise InvalidProfile(f"{context.path}: `repository` is missing.", "Name the folder of the model repository.")
    repository = context.resolve(profile.repository)
    if not repository.is_dir():
        raise InvalidProfile(f"{context.path}: the model repository {repository} is not a folder.", "Check the path.")
    ports = context.ports(PORTS)
    by_purpose = {port.purpose: port for port in ports}
    if "http" not in by_purpose:
        raise InvalidProfile(f"{context.path}: `expose` leaves out http.", "tritontui asks for readiness over HTTP.")

    def url(purpose: str, path: str = "") -> str | None:
        port = by_purpose.get(purpose)
        return f"http://{context.host}:{port.host_port}{path}" if port else None

    http = url("http") or ""
    grpc = by_purpose.get("grpc")
    service = Service(
        protocol=Protocol.TRITON,
        http=http,
        health=f"{http}/v2/health/ready",
        grpc=f"{context.host}:{grpc.host_port}" if grpc else None,
        metrics=url("metrics", "/metrics"),
        model=profile.model,
        ready_timeout_s=profile.ready.timeout,
        ready_prompt=profile.ready.prompt,
    )
    switches = [f"{switch}=false" for purpose, switch in SWITCHES.items() if purpose not in by_purpose]
    options = _options(profile.engine)
    if context.on_docker:
        command = ("tritonserver", f"--model-repository={REPOSITORY_IN_CONTAINER}", *switches, *options)
        mounts = (Mount(str(repository), REPOSITORY_IN_CONTAINER),)
        launch = context.launch(command=command, service=service, ports=ports, mounts=mounts, default_shm=GIB)
        return context.plan(launch)

    from engine.stacks.local_triton import find_tritonserver

    local = find_tritonserver(context.settings, profile.program)
    addresses = [
        word
        for purpose, port in by_purpose.items()
        for word in (f"--{purpose}-port={port.host_port}", f"--{purpose}-address={_address(purpose, port.host_ip)}")
    ]
    command = (
        local.program,
        f"--model-repository={repository}",
        *local.arguments,
        *addresses,
        *switches,
        # Servers on one machine share /dev/shm; without names of their own they take each other's regions.
        f"--backend-config=python,shm-region-prefix-name=tritontui_{profile.name}",
        *options,
    )
    return context.plan(context.launch(command=command, service=service, ports=ports, env=dict(local.env)))


def _address(purpose: str, ip: str) -> str:
    """As the library behind each of the server's endpoints wants it."""
    if ":" not in ip:
        return ip
    return f"[{ip}]" if purpose == "grpc" else f"ipv6:{ip}"


def _options(engine: dict[str, object]) -> list[str]:
    """`log_verbose: 1` becomes `--log-verbose=1`; a list repeats the option, as tritonserver wants it."""
    words: list[str] = []
    for key, value in engine.items():
        flag = "--" + key.replace("_", "-")
        words += [f"{flag}={option_words(key, item)}" for item in (value if isinstance(value, list) else [value])]
    return words
