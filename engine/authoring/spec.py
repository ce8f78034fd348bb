"""A container as somebody ran it, whatever told of it: a line for a shell, or Docker itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.plan import Mount

REFERENCE = re.compile("\ue000(?:(?P<name>\\w+)(?P<rest>[^\ue001]*)|<(?P<file>[^\ue001]*))\ue001")
"""A shell's `${NAME…}` or `$(cat FILE)`, not replaced so that no secret is. See `engine.authoring.shell`"""


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the container on the machine."""

    container_port: int
    host_port: int | None = None
    """None: whichever is free"""
    host_ip: str = ""
    """Empty: every address"""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Text may hold references; `settle` replaces them."""

    image: str
    arguments: tuple[str, ...] = ()
    """What follows the image"""
    entrypoint: tuple[str, ...] | None = None
    """None: the image's own, which is not known"""
    name: str = ""
    ports: tuple[Published, ...] = ()
    host_network: bool = False
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str | None] = field(default_factory=dict)
    """None: as in the environment of whoever runs it"""
    gpus: str = ""
    """As `--gpus` takes it: a count, all, or device=…; empty for none"""
    nvidia_runtime: bool = False
    """All GPUs, or those in NVIDIA_VISIBLE_DEVICES"""
    shm_bytes: int | None = None
    host_ipc: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set in the text itself, before the line"""
    left_out: tuple[str, ...] = ()
    """Sentences on what no profile says"""


def settle(text: str, variables: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """References replaced by what they stand for, and those for which nothing was found, as a shell writes them."""
    missing: list[str] = []

    def value(match: re.Match[str]) -> str:
        name, rest = match["name"], match["rest"] or ""
        if name in variables:
            return variables[name]
        if rest.startswith((":-", "-")):
            return rest.lstrip(":").removeprefix("-")
        missing.append(as_written(match[0]))
        return missing[-1]

    return REFERENCE.sub(value, text), tuple(missing)


def as_written(text: str) -> str:
    """References as a shell has them."""

    def written(match: re.Match[str]) -> str:
        return f"${{{match['name']}{match['rest']}}}" if match["name"] else f"$(cat {match['file']})"

    return REFERENCE.sub(written, text)
