"""A container as somebody ran it, whatever told of it: a line for a shell, or Docker itself."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.plan import Mount
from engine.profile import is_secret

REFERENCE = re.compile(
    "\ue000(?:(?P<name>\\w+)(?P<rest>[^\ue001]*)|<(?P<file>[^\ue001]*)|\\((?P<command>[^\ue001]*))\ue001"
)
"""A shell's `${NAME…}`, `$(cat FILE)` or `$(…)`, not replaced so that no secret is. See `engine.authoring.shell`"""
_PRIVATE = re.compile(
    r"SECRET|PASSW|CREDENTIAL|APIKEY|(?:^|_)(?:TOKEN|KEY|PASS|PW|PAT|AUTH)(?:_|$)",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"\d*|true|false|yes|no|on|off", re.IGNORECASE)


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
    working_dir: str = ""
    """Where its relative paths begin; empty when that is not known"""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set in the text itself, before the line"""
    left_out: tuple[str, ...] = ()
    """Sentences on what no profile says"""


@dataclass(frozen=True, slots=True)
class Settled:
    text: str
    """With what is not filled in as a shell writes it"""
    notes: tuple[str, ...] = ()
    """Sentences on what is not filled in"""
    withheld: bool = False
    """Something may be a secret, or is for a command to say"""


def settle(text: str, variables: Mapping[str, str]) -> Settled:
    """References replaced by what they stand for; a secret's value never is."""
    notes: list[str] = []
    withheld = False

    def value(match: re.Match[str]) -> str:
        nonlocal withheld
        name, rest, written = match["name"], match["rest"] or "", as_written(match[0])
        if name is None:
            withheld = True
            notes.append(f"{written} is not carried out: write in its place what it prints.")
        elif name in variables and private(name, variables[name]):
            withheld = True
            notes.append(f"{written} looks like a secret, and is not filled in.")
        elif name in variables:
            inner = settle(variables[name], {key: variables[key] for key in variables if key != name})
            withheld = withheld or inner.withheld
            notes.extend(inner.notes)
            return inner.text
        elif rest.startswith((":-", "-")):
            return rest.lstrip(":").removeprefix("-")
        else:
            notes.append(f"{written} is not known here: write in its place what it stands for.")
        return written

    return Settled(REFERENCE.sub(value, text), tuple(notes), withheld)


def private(name: str, value: str) -> bool:
    """Whether a variable may hold a secret. More are taken for one than in a profile: a reference does as well."""
    return is_secret(name, value) or (bool(_PRIVATE.search(name)) and not _HARMLESS.fullmatch(value))


def as_written(text: str) -> str:
    """References as a shell has them."""

    def written(match: re.Match[str]) -> str:
        if match["name"]:
            return f"${{{match['name']}{match['rest']}}}"
        return f"$(cat {match['file']})" if match["command"] is None else f"$({match['command']})"

    return REFERENCE.sub(written, text)


def fields(text: str) -> list[str]:
    """Of an option whose value is CSV, as those of `--mount` and `--gpus` are."""
    try:
        return [field.strip() for row in csv.reader([text]) for field in row if field.strip()]
    except csv.Error:
        return []
