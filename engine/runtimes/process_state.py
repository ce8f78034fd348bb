"""What the state folder of a local deployment says. Its files may be damaged, or from before a restart."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from errno import ENOENT
from pathlib import Path
from typing import Any, TypeVar

from engine.deployment import Deployment, Lifecycle, Protocol, Service
from engine.drift import launch_facts
from engine.plan import Launch
from engine.runtimes.gpu_uuids import uuids
from engine.runtimes.process_identity import as_identity
from engine.runtimes.shim import ERRORS, LAUNCH, RUN, STOP, Identity
from engine.text import clean_line

RUNTIME = "process"
FILES = "files"
"""Folder of what was generated for the deployment; its path is that of `Settings.deployment_files`"""
T = TypeVar("T")
_UNKNOWN = Service(protocol=Protocol.TRITON, http="", health="")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is kept of a launch: all that a start needs. Secrets are the references that they are in the launch."""

    id: str
    created_at: float
    stack: str
    command: tuple[str, ...]
    service: Service
    env: dict[str, str]
    secrets: dict[str, str]
    gpus: int | tuple[str, ...]
    stop_timeout_s: float
    profile_digest: str
    launch_facts: str = ""
    """As `engine.drift.launch_facts`; empty for what older versions made"""

    @classmethod
    def of(cls, launch: Launch, launch_id: str, created_at: float) -> "Facts":
        return cls(
            id=launch_id,
            created_at=created_at,
            stack=launch.stack,
            command=launch.command,
            service=launch.service,
            env=dict(launch.env),
            secrets=dict(launch.secrets),
            gpus=launch.gpus,
            stop_timeout_s=launch.stop_timeout_s,
            profile_digest=launch.profile_digest,
            launch_facts=launch_facts(launch),
        )

    def to_data(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Facts":
        """Raises KeyError, TypeError or ValueError when the data is not what `to_data` gives."""
        gpus = data["gpus"]
        facts = cls(
            **{
                **data,
                "service": Service.from_json(json.dumps(data["service"])),
                "command": tuple(map(str, data["command"])),
                "env": dict(data["env"]),
                "secrets": dict(data["secrets"]),
                "gpus": tuple(map(str, gpus)) if isinstance(gpus, list) else int(gpus),
                "created_at": float(data["created_at"]),
                "launch_facts": str(data.get("launch_facts", "")),
                "stop_timeout_s": float(data["stop_timeout_s"]),
            }
        )
        if not facts.command or not facts.id:
            raise ValueError("it names no command")
        return facts


@dataclass(frozen=True, slots=True)
class Run:
    """What the shim wrote about the latest run."""

    id: str
    shim: Identity | None = None
    server: Identity | None = None
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    stop_requested: bool = False
    error: str = ""

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "Run":
        """Raises KeyError, TypeError or ValueError when the data is not what a shim writes."""
        run = cls(**{**data, "shim": as_identity(data["shim"]), "server": as_identity(data.get("server"))})
        if run.shim is None:
            raise ValueError("it names no process")
        numbers = (run.started_at, run.finished_at, run.exit_code)
        if not all(number is None or isinstance(number, int | float) for number in numbers):
            raise TypeError("a time or the exit code is no number")
        return run


@dataclass(frozen=True, slots=True)
class Record:
    """The state of one deployment as its folder tells it; None for what is not there or could not be read."""

    folder: Path
    facts: Facts | None
    run: Run | None
    stop_requested: bool
    damage: str = ""
    """Which file could not be read and why, and what to do; empty when all is well"""

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Raises FileNotFoundError when there is no such deployment."""
        if not is_deployment(folder):
            raise FileNotFoundError(ENOENT, "It is not there", str(folder))
        facts, facts_damage = _read(folder / LAUNCH, Facts.from_data)
        run, run_damage = _read(folder / RUN, Run.from_data)
        if facts is None and not facts_damage:
            facts_damage = f"The state file {folder / LAUNCH} is missing."
        damage = facts_damage or run_damage
        remedy = f" Remove {folder.name} and start it again." if damage else ""
        stopping = (folder / STOP).exists() or (run is not None and run.stop_requested)
        return cls(folder, facts, run, stopping, damage + remedy)

    @property
    def launch_id(self) -> str:
        return self.facts.id if self.facts else self.run.id if self.run else ""

    def shim_errors(self) -> str:
        """The last line that the shim itself complained in."""
        try:
            lines = (self.folder / ERRORS).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    @property
    def gpus(self) -> tuple[str, ...]:
        """UUIDs; nothing when it was given a number of GPUs, or their indices."""
        return uuids(self.facts.gpus) if self.facts and isinstance(self.facts.gpus, tuple) else ()

    def deployment(self, lifecycle: Lifecycle, pid: int | None, error: str) -> Deployment:
        deployment = Deployment(
            name=self.folder.name,
            runtime=RUNTIME,
            stack=self.facts.stack if self.facts else "",
            id=self.launch_id,
            what=clean_line(self.facts.command[0]) if self.facts else "",
            lifecycle=lifecycle,
            service=self.facts.service if self.facts else _UNKNOWN,
            created_at=self.facts.created_at if self.facts else 0.0,
            stop_requested=self.stop_requested,
            error=clean_line(error),
            pid=pid,
            profile_digest=self.facts.profile_digest if self.facts else "",
            gpus=self.gpus,
            launch_facts=self.facts.launch_facts if self.facts else "",
        )
        if self.run is None:
            return deployment
        return replace(
            deployment,
            started_at=self.run.started_at,
            finished_at=self.run.finished_at,
            exit_code=self.run.exit_code,
            oom_killed=self.run.oom_killed,
        )


def is_deployment(folder: Path) -> bool:
    """What the line for a start by hand leaves here, the generated files alone, is none."""
    try:
        return [entry.name for entry in folder.iterdir()] != [FILES]
    except FileNotFoundError:
        return False
    except OSError:  # what cannot be read is told when it is read
        return True


def _read(path: Path, parse: Callable[[dict[str, Any]], T]) -> tuple[T | None, str]:
    """What the file says, or None and why it cannot be read; both empty when there is no such file."""
    try:
        return parse(json.loads(path.read_bytes())), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"The state file {path} cannot be read: {error.strerror}."
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, f"The state file {path} is damaged."
