"""What a deployment was launched with, as it is kept with it, and how that differs from what a plan now says."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping

from engine import __version__
from engine.plan import Launch
from engine.text import clean_line

MOST_BYTES = 32 << 10
"""Of the facts as text: they are kept in a container's label"""
_LONGEST_VALUE = 1024
_LONGEST_SHOWN = 60
_PROFILE, _VERSION = "profile", "tritontui"
_AUTOMATIC = "automatic"


def launch_facts(launch: Launch) -> str:
    """As JSON: what the container or process is made from, flat and in a fixed order.

    What differs from plan to plan by itself is left out: which of several GPUs, and the number of an automatic port;
    and so are limits (`--ulimit`), which no profile states and which not every engine grants.
    """
    found = {key: _bounded(value) for key, value in _of(launch)}
    files = {f"file.{file.path}": _digest(file.text, str(file.executable)) for file in launch.files}
    text = _written({**found, **files})
    if len(text) > MOST_BYTES and files:
        text = _written({**found, "files": _digest(*(part for pair in sorted(files.items()) for part in pair))})
    return text


def facts(text: str) -> dict[str, str]:
    """What `launch_facts` wrote; nothing when it is anything else."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, str)}


def made_from(text: str) -> tuple[str, str]:
    """Digest of the profile and version of tritontui: with the same image, what was made from the same is the same."""
    known = facts(text)
    return known.get(_PROFILE, ""), known.get(_VERSION, "")


def differences(then: str, now: str) -> tuple[str, ...]:
    """What the facts of a running launch lack or have beside those of a plan, each in one line; cleaned and cut."""
    before, after = facts(then), facts(now)
    if not before or not after:
        return ()
    keys = sorted((before.keys() | after.keys()) - {_PROFILE, _VERSION}, key=_order)
    changed = [(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]
    # The command of a local server has its ports, too: what moved is told once.
    moved = {tuple(map(_number, values)) for key, *values in changed if key.startswith("port.")}
    return tuple(
        _line(key, then, later)
        for key, then, later in changed
        if not (key.startswith("option ") and "port" in key and (then, later) in moved)
    )


def _number(address: str | None) -> str | None:
    return address and address.rpartition(":")[2]


def _of(launch: Launch) -> Iterator[tuple[str, str]]:
    yield _PROFILE, launch.source_digest
    yield _VERSION, __version__
    yield "stack", launch.stack
    if launch.image:
        yield "image", launch.image
    if launch.entrypoint:
        yield "entrypoint", shlex.join(launch.entrypoint)
    yield from _command(launch)
    yield from ((f"env.{name}", value) for name, value in launch.env.items())
    yield from ((f"secret.{name}", reference) for name, reference in launch.secrets.items())
    if launch.service.api_key:
        yield "api_key", launch.service.api_key
    for port in launch.ports:
        ip = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
        yield f"port.{port.purpose}", f"{ip}:{_AUTOMATIC if port.automatic else port.host_port}"
    yield from ((f"mount.{one.target}", f"{one.source} {'ro' if one.read_only else 'rw'}") for one in launch.mounts)
    yield "gpus", launch.gpus_wanted or _gpus(launch.gpus)
    if launch.shm_bytes:
        yield "shm", str(launch.shm_bytes)
    if launch.host_ipc:
        yield "ipc", "host"


def _command(launch: Launch) -> Iterator[tuple[str, str]]:
    """Its options one by one; what stands before them as one."""
    options: dict[str, list[str]] = {}
    before: list[str] = []
    values = before
    for word in launch.command:
        name, equals, value = word.partition("=")
        if not word.startswith("--") or any(character.isspace() for character in name):
            values.append(word)
            continue
        values = options.setdefault(name, [])
        values += [value] if equals else []
    yield "command", shlex.join(before)
    # On Docker the command has the container's own, which stay.
    ports = launch.ports if launch.runtime == "process" else ()
    automatic = {str(port.host_port) for port in ports if port.automatic}
    for name, given in options.items():
        shown = [_AUTOMATIC if "port" in name and value in automatic else value for value in given]
        yield f"option {name}", shown[0] if len(shown) == 1 else shlex.join(shown)


def _gpus(gpus: int | tuple[str, ...]) -> str:
    if isinstance(gpus, tuple):
        return ",".join(gpus)
    return "all" if gpus < 0 else str(gpus)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _bounded(value: str) -> str:
    if len(value) <= _LONGEST_VALUE:
        return value
    return f"{value[:_LONGEST_SHOWN]}… ({len(value)} characters, {_digest(value)})"


def _written(found: Mapping[str, str]) -> str:
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


# -- in words -------------------------------------------------------------------------------------------------------

_FIRST = ("image", "stack", "gpus", "entrypoint", "command")
_LONG = {"shm": "shared memory in bytes", "api_key": "reference to the API key", "files": "generated files"}


def _order(key: str) -> tuple[int, str]:
    """What weighs most comes first, then options, then the rest."""
    if key in _FIRST:
        return _FIRST.index(key), key
    return len(_FIRST) + (not key.startswith("option ")), key


def _line(key: str, then: str | None, now: str | None) -> str:
    noun = _noun(key)
    if key == "files" or key.startswith("file."):
        if then is None or now is None:
            return f"{noun}: the profile {'now' if then is None else 'no longer'} has it"
        return f"{noun}: the profile now makes another one"
    if then is None:
        return f"{noun} is not set, the profile now sets {_shown(now) or 'it'}"
    if now is None:
        return f"{noun}: {_shown(then) or 'set'}, the profile no longer sets it"
    return f"{noun}: {_shown(then) or 'set'}, the profile now says {_shown(now) or 'nothing more'}"


def _noun(key: str) -> str:
    kind, dot, name = key.partition(".")
    if key.startswith("option "):
        noun = key.removeprefix("option ").lstrip("-")
    elif dot:
        noun = name if kind == "env" else f"{kind} {name}"
    else:
        noun = _LONG.get(key, key)
    return _cut(clean_line(noun))


def _shown(value: str | None) -> str:
    return _cut(clean_line(value or ""))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"
