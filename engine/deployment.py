"""A deployment: a profile that has been started, as its runtime reports it."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from engine.text import TAB, clean


class Protocol(StrEnum):
    """How a server is spoken to."""

    TRITON = "triton"
    OPENAI = "openai"


class Lifecycle(StrEnum):
    """What the runtime knows: whether the container or process runs. Readiness is not its business."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class State(StrEnum):
    """What the operator is told, judged from lifecycle, health probe and operations under way."""

    ABSENT = "absent"
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    ASLEEP = "asleep"
    """vLLM's sleep mode: it runs, holds little GPU memory, and answers nothing until it is woken"""


@dataclass(frozen=True, slots=True)
class Service:
    """Where a deployment answers. It is kept with the deployment itself (container label, state folder)."""

    protocol: Protocol
    http: str
    """Base URL, e.g. http://127.0.0.1:8000"""
    health: str
    """URL that answers 200 when ready"""
    grpc: str | None = None
    """host:port"""
    metrics: str | None = None
    """URL of the Prometheus exposition"""
    model: str | None = None
    """The served model's name when the profile states one; otherwise the server is asked"""
    ready_timeout_s: float = 1800.0
    ready_prompt: str | None = None
    """A prompt that must be answered before the deployment counts as started"""
    api_key: str | None = None
    """Reference to the key that the server asks for (`env:NAME` or `file:PATH`), never the key itself"""

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Host and port of each endpoint that has both."""
        for address in (self.http, self.grpc, self.metrics):
            parts = urlsplit(address if address and "//" in address else f"//{address or ''}")
            with suppress(ValueError):  # a label may hold anything
                if parts.hostname and parts.port:
                    yield parts.hostname, parts.port

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Service":
        """Raises ValueError or TypeError when the text is not what `to_json` writes."""
        data = json.loads(text)
        data["protocol"] = Protocol(data["protocol"])
        service = cls(**data)
        if not isinstance(service.ready_timeout_s, int | float):
            raise TypeError("ready_timeout_s is no number")
        for name in ("http", "health", "grpc", "metrics", "model", "ready_prompt", "api_key"):
            value = getattr(service, name)
            if not isinstance(value, str) and (value is not None or name in ("http", "health")):
                raise TypeError(f"{name} is no text")
            if value is not None and clean(value) != value.replace("\t", TAB):
                raise ValueError(f"{name} has control characters")
        return service


@dataclass(frozen=True, slots=True)
class Deployment:
    """Facts about one container or process that is ours. Times are seconds since the epoch."""

    name: str
    runtime: str
    """docker or process"""
    stack: str
    id: str
    """Container id, or the process runtime's launch id: changes with every create"""
    what: str
    """Image reference, or program path"""
    lifecycle: Lifecycle
    service: Service
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    """Negative or > 128 for a signal, as the runtime reports it"""
    oom_killed: bool = False
    stop_requested: bool = False
    """The stop was asked for through the runtime, so its exit is no failure (process runtime; Docker cannot tell)"""
    error: str = ""
    """The runtime's own word on why it did not start"""
    pid: int | None = None
    """Main process on this machine, when it runs here"""
    profile_digest: str = ""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs that it was placed on; empty for none, and when they were not known"""
    image_id: str = ""
    """Digest of the image that it runs; empty on the process runtime"""
    launch_facts: str = ""
    """What it was launched with, as `engine.drift.launch_facts` writes it; empty for what older versions made"""
    foreign: bool = False
    """Started by hand, and not adopted: it is only watched"""
    adopted: bool = False
    """Started by hand, and adopted: its container carries no labels of ours"""
    restarts_itself: bool = False
    """Its restart policy may bring it back after a stop, or when the container engine starts"""
    removed_when_stopped: bool = False
    """`docker run --rm`: stopping it is removing it"""
    restarts: int = 0
    """How often the container engine has started it anew by itself, since it was last started on purpose"""
    replaces: str = ""
    """Id of the one of its name that is set aside until this one serves; empty for none"""
    made_as: str = ""
    """The deployment as which its server was started, where that is another: it serves this one's model for one run"""


def precedence(deployment: Deployment) -> tuple[bool, float]:
    """Of several with one name the greatest counts: what runs before what has ended, the newer before the older."""
    return deployment.lifecycle is Lifecycle.RUNNING, deployment.started_at or deployment.created_at
