"""A plan: what starting a profile would do, computed and printed before anything is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.deployment import Service
from engine.fit.result import Fit
from engine.request import Way
from engine.startup import Reported

CONTAINER_PREFIX = "tritontui-"


@dataclass(frozen=True, slots=True)
class PortBinding:
    purpose: str
    """http, grpc or metrics"""
    host_ip: str
    host_port: int
    container_port: int
    """Equal to host_port on the process runtime"""
    automatic: bool = False
    """The profile leaves its number to tritontui"""


@dataclass(frozen=True, slots=True)
class Mount:
    source: str
    """Absolute path on the machine, or a volume's name"""
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """Written for the deployment: into the created container, or beside the local process."""

    path: str
    """Relative to `Launch.files_root`, with slashes"""
    text: str
    executable: bool = False


@dataclass(frozen=True, slots=True)
class PlacedGpu:
    """A GPU that the deployment is to get. Memory in bytes."""

    index: int
    uuid: str
    name: str
    memory_total: int | None = None
    memory_used: int | None = None
    """At the moment of planning, by whomever"""
    used_by: tuple[str, ...] = ()
    """Deployments that run on it"""


@dataclass(frozen=True, slots=True)
class Launch:
    """All that a runtime needs to create a deployment; the same for every runtime."""

    name: str
    stack: str
    runtime: str
    command: tuple[str, ...]
    """Docker: arguments after the image. Process: the whole command line, program first."""
    service: Service
    image: str | None = None
    entrypoint: tuple[str, ...] | None = None
    """Docker only; None keeps the image's own"""
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable -> reference (`env`, `env:OTHER` or `file:PATH`); resolved by the runtime at launch, never stored"""
    ports: tuple[PortBinding, ...] = ()
    mounts: tuple[Mount, ...] = ()
    files: tuple[GeneratedFile, ...] = ()
    files_root: str = ""
    """Absolute path where the command finds the files: in the container, or on the machine"""
    gpus: int | tuple[str, ...] = 0
    """UUIDs when the machine's GPUs are known; otherwise a count or indices. 0 for none, -1 for all"""
    shm_bytes: int | None = None
    host_ipc: bool = False
    ulimits: Mapping[str, int] = field(default_factory=dict)
    """Docker only; soft and hard alike, -1 for none"""
    stop_timeout_s: float = 45.0
    """Longer than Triton's own 30 s exit timeout, so that it is not killed in the middle of its shutdown"""
    profile_digest: str = ""
    source_digest: str = ""
    """Of the profile alone; `profile_digest` also counts the generated files"""
    gpus_wanted: str = ""
    """As the profile has it: a count, `all`, or those that it lists"""

    @property
    def container_name(self) -> str:
        return CONTAINER_PREFIX + self.name


@dataclass(frozen=True, slots=True)
class Plan:
    launch: Launch
    source: str
    """The profile's file"""
    summary: str = ""
    warnings: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    """Every runtime on which this profile could be started"""
    obstacles: tuple[str, ...] = ()
    """Why a start would be refused as things stand: it does not fit, or its GPUs are taken"""
    placement: tuple[PlacedGpu, ...] = ()
    """Empty when no GPU is wanted, or the machine's are not known"""
    fit: Fit | None = None
    """None for a stack whose memory nobody can tell"""
    versions: Mapping[str, str] = field(default_factory=dict)
    """What the image holds, as far as known: Triton, vLLM, TensorRT-LLM"""
    digest: str = ""
    """Of all that would be done; two plans with the same one launch the same"""
    needs_bytes: Mapping[str, int] = field(default_factory=dict)
    """UUID -> GPU memory that must be free before it is started, for those GPUs of which that is known"""
    model: str | None = None
    """As the profile names it: a repository id or a folder"""
    reported: tuple[Reported, ...] = ()
    """What the engine told of itself when this was last started here"""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A deployment that a swap takes out of service."""

    name: str
    runtime: str
    id: str
    """Container id, or the process runtime's launch id"""
    running: bool
    gpus: tuple[str, ...] = ()
    frees_bytes: Mapping[str, int] = field(default_factory=dict)
    """UUID -> GPU memory that its processes hold now, as far as the driver tells"""
    why: str = ""
    """What it holds that the incoming one needs, e.g. `GPU 0, 1` or `port 8000`; or that it was named"""
    drained_by: str = ""
    """The metric that tells its requests under way; empty when nothing does"""


@dataclass(frozen=True, slots=True)
class SwapPlan:
    incoming: Plan
    """With the outgoing's memory, GPUs and ports counted as free"""
    outgoing: tuple[Outgoing, ...]
    way: Way
    reason: str
    """Why this way, in a sentence"""
    other_ways: tuple[str, ...] = ()
    """Why not the faster ones, each in a sentence"""
    warnings: tuple[str, ...] = ()
    """Besides those of `incoming`"""
    digest: str = ""

    @property
    def obstacles(self) -> tuple[str, ...]:
        return self.incoming.obstacles


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting a foreign container would do. Nothing about the container itself changes."""

    name: str
    """Of the deployment and its profile"""
    container: str
    """Its own name"""
    id: str
    profile_path: str
    """Where the profile would be written"""
    profile_text: str
    launch: Launch
    """As the profile would start it anew"""
    notes: tuple[str, ...] = ()
    """What the profile does not say, and what to know before: it was started with --rm, somebody else restarts it"""
