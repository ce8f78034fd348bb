"""What profiles need of the machine, as far as their plans and files tell it without asking the machine."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from engine.catalog import Catalog, CatalogEntry, is_shipped
from engine.errors import EngineError
from engine.finding import Severity
from engine.fit import files
from engine.plan import Launch, PortBinding
from engine.settings import Settings
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from engine.stacks.huggingface import hub_cache
from engine.stacks.parallel import SIZES
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.profile import Profile

_BYTES_A_PARAMETER = 2


@dataclass(frozen=True, slots=True)
class Need:
    """Of one profile."""

    name: str
    runtime: str = "docker"
    stack: str = "vllm"
    image: str = ""
    """Empty on the process runtime"""
    gpus: int = 0
    """-1 for all"""
    ranks: int = 1
    """How many GPUs work together on one model"""
    shm_bytes: int | None = None
    """Of the container; None for Docker's own default"""
    host_ipc: bool = False
    ports: tuple[PortBinding, ...] = ()
    """Those that the profile gives a number"""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Variable -> reference"""
    model: str = ""
    """A repository of the Hugging Face hub; empty for a folder, and where nobody tells"""
    model_bytes: int | None = None
    """Of its weights as stored; None when it is not known"""
    cached: bool = False
    """It is on this machine"""

    @property
    def on_docker(self) -> bool:
        return self.runtime == "docker"


@dataclass(frozen=True, slots=True)
class Needs:
    profiles: tuple[Need, ...] = ()
    wanted: bool = True
    """Somebody asked for them; False when they are only the examples that ship"""
    named: bool = False
    """By the person who asks the doctor"""
    unplanned: tuple[tuple[str, str], ...] = ()
    """Profiles of which no plan can be made, with the reason"""
    invalid: tuple[str, ...] = ()
    """Files that are no profiles: the problem of each"""

    @property
    def error(self) -> Severity:
        """How much it matters that one of them cannot be started."""
        return Severity.ERROR if self.wanted else Severity.WARNING

    @property
    def on_gpus(self) -> tuple[Need, ...]:
        return tuple(need for need in self.profiles if need.gpus)

    @property
    def on_docker(self) -> tuple[Need, ...]:
        return tuple(need for need in self.profiles if need.on_docker)

    @property
    def parallel(self) -> tuple[Need, ...]:
        return tuple(need for need in self.on_gpus if need.ranks > 1)

    @property
    def images(self) -> dict[str, list[str]]:
        """Image -> the profiles that name it."""
        found: dict[str, list[str]] = {}
        for need in self.profiles:
            if need.image:
                found.setdefault(need.image, []).append(need.name)
        return found


def read_needs(settings: Settings, catalog: Catalog, started: Sequence[str], named: str | None = None) -> Needs:
    """Of one profile by its name, which the catalog has; otherwise of all but the shipped ones that were not started.

    Where there are no others, the shipped ones stand for what could be started.
    """
    entries = [catalog.entries[named]] if named else list(catalog.entries.values())
    own = [one for one in entries if one.profile.name in started or not is_shipped(settings, one.path)]
    wanted = bool(named or own)
    needs: list[Need] = []
    unplanned: list[tuple[str, str]] = []
    for entry in entries if named or not own else own:
        try:
            needs.append(_need(settings, entry))
        except EngineError as error:
            unplanned.append((entry.profile.name, clean_line(str(error)).removeprefix(f"{entry.path}: ")))
    invalid = () if named else tuple(str(problem) for problem in catalog.problems)
    return Needs(tuple(needs), wanted, bool(named), tuple(unplanned) if wanted else (), invalid)


def _need(settings: Settings, entry: CatalogEntry) -> Need:
    """Raises `EngineError`."""
    profile = entry.profile
    context = PlanContext(profile, entry.path, entry.digest, profile.runtime, settings)
    launch = STACKS[profile.stack](context).launch
    model = profile.model if profile.model and profile.stack != "triton" else ""
    remote = model if model and not model.startswith((".", "/", "~")) else ""
    size, cached = _weights(profile, remote, entry.path.parent)
    return Need(
        profile.name,
        profile.runtime,
        profile.stack,
        launch.image or "",
        _gpus(launch),
        _ranks(profile),
        launch.shm_bytes,
        launch.host_ipc,
        tuple(port for port in launch.ports if not port.automatic),
        launch.secrets,
        remote,
        size,
        cached,
    )


def _gpus(launch: Launch) -> int:
    return len(launch.gpus) if isinstance(launch.gpus, tuple) else launch.gpus


def _ranks(profile: "Profile") -> int:
    sizes = [profile.engine.get(key, 1) for key in SIZES]
    return math.prod(size for size in sizes if isinstance(size, int) and size > 0)


def _weights(profile: "Profile", repository: str, folder: Path) -> tuple[int | None, bool]:
    """Bytes, and whether they are here."""
    numbers = profile.fit.model
    parameters = numbers.parameters if numbers else None
    computed = int(parameters * 1e9) * _BYTES_A_PARAMETER if parameters else None
    stated = (numbers.weights if numbers else None) or computed
    try:
        if repository:
            snapshot = files.snapshot(hub_cache(), repository)
        else:
            snapshot = (folder / Path(profile.model).expanduser()) if profile.model else None
        found = files.weights(snapshot) if snapshot else None
    except (files.UnreadableError, OSError, RuntimeError):
        return stated, False
    return (found[0], True) if found else (stated, False)
