"""A container as somebody ran it, made into a profile; what no profile says is told."""

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.authoring.served import served
from engine.authoring.shell import PLACEHOLDER
from engine.authoring.spec import REFERENCE, ContainerSpec, Published, fields, private, settle
from engine.plan import CONTAINER_PREFIX, Mount
from engine.profile import is_secret
from engine.text import clean, clean_line

_ANY = ("", "0.0.0.0", "::")  # noqa: S104 (what is recognised, and closed)
_LOOPBACK = ("127.0.0.1", "::1")
_VISIBLE = ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZES = ((1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))
_DOCKER_SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Imported:
    data: dict[str, Any]
    """The profile"""
    notes: tuple[str, ...]
    """What is left out, changed, or to be done before it can be started"""


def imported(
    spec: ContainerSpec,
    environ: Mapping[str, str],
    working_dir: Path,
    *,
    name: str = "",
    origin: str = "",
    keep_open: bool = False,
) -> Imported:
    """`name`: of the profile; otherwise the container's, or the model's. `origin`: for the summary.

    `keep_open`: ports that are open on every address stay so, instead of being closed to others.

    Raises `InvalidProfile` when the container is neither vLLM's server nor Triton's.
    """
    from engine.authoring.imported_triton import take_triton
    from engine.authoring.imported_vllm import take_vllm

    taken = Taking(spec, environ, working_dir, keep_open=keep_open)
    found = served(spec, taken.settled)
    taken.notes += found.notes
    data = taken.data
    data["image"] = spec.image
    if gpus := taken.gpus():
        data["gpus"] = gpus
    taken.environment()
    (take_vllm if found.server == "vllm" else take_triton)(taken, found.words)
    taken.memory()
    taken.keep_mounts()
    told = (spec.image, *found.words, *(mount.source for mount in spec.mounts))
    taken.notes += [
        f"{one} stands for something: write it in its place." for one in PLACEHOLDER.findall(" ".join(told))
    ]
    if taken.env:
        data["env"] = taken.env
    if taken.secrets:
        data["secrets"] = taken.secrets
    what = str(data.get("model") or PurePosixPath(str(data.get("repository") or spec.image)).name)
    names = (name, _slug(spec.name.removeprefix(CONTAINER_PREFIX)), _slug(PurePosixPath(what).name), "imported")
    data["name"] = next(filter(None, names))
    data["summary"] = clean_line(f"{what}{', ' if origin else ''}{origin}")
    return Imported(data, tuple(dict.fromkeys(map(clean_line, (*spec.left_out, *taken.notes)))))


class Taking:
    """What is common to all servers; those of each take from it and add to `data`."""

    def __init__(
        self, spec: ContainerSpec, environ: Mapping[str, str], working_dir: Path, *, keep_open: bool = False
    ) -> None:
        self.spec = spec
        self._keep_open = keep_open
        self.data: dict[str, Any] = {}
        self.notes: list[str] = []
        self.env: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self._mounts = list(spec.mounts)
        self._known = {**environ, **spec.variables}
        self._working_dir = working_dir

    def settled(self, text: str) -> str:
        settled = settle(text, self._known)
        self.notes += settled.notes
        return settled.text

    # -- variables ----------------------------------------------------------------------------------------------------

    def environment(self) -> None:
        for name, value in self.spec.env.items():
            if name in _VISIBLE and name not in self.env:
                continue
            if not _ENV_NAME.fullmatch(name):
                # Not told: a file of variables may be any file.
                self.notes.append("A variable is left out: what stands before its = is no name.")
            elif value is None and name not in self.spec.variables:
                self.secrets[name] = "env"
            else:
                self.variable(name, self.spec.variables[name] if value is None else value)

    def variable(self, name: str, value: str) -> None:
        """By reference when it is one, or a secret; the value of a secret goes nowhere."""
        match, stated = REFERENCE.fullmatch(value), self.spec.variables
        if match and match["name"] in stated:
            inner = stated[match["name"]]
            if REFERENCE.fullmatch(inner) or not private(match["name"], inner):
                value, match = inner, REFERENCE.fullmatch(inner)
        if match and match["file"] is not None:
            self.secrets[name] = f"file:{self._working_dir / match['file']}"
        elif match and match["name"] and (private(name, "x") or not match["rest"].startswith((":-", "-"))):
            self.secrets[name] = "env" if match["name"] == name else f"env:{match['name']}"
            if match["name"] in stated:
                self._not_kept(match["name"])
        else:
            settled = settle(value, self._known)
            text = settled.text.replace("\t", " ")
            if settled.withheld or private(name, settled.text):
                self.secrets[name] = "env"
                self._not_kept(name)
            elif clean(text) != text:
                self.notes.append(f"The variable {name} is left out: its value has a control character.")
            else:
                self.notes += settled.notes
                self.env[name] = settled.text

    def _not_kept(self, name: str) -> None:
        self.notes.append(f"The value of {name} is not kept: export {name} where tritontui runs.")

    def leave_out_secrets(self, options: dict[str, Any]) -> None:
        """Arguments that hold one: every user of the machine could read it there."""
        for key, value in list(options.items()):
            if is_secret("", value if isinstance(value, str) else json.dumps(value)):
                del options[key]
                self.notes.append(f"`--{key.replace('_', '-')}` is left out: a secret stands in it.")

    # -- GPUs and memory ----------------------------------------------------------------------------------------------

    def gpus(self) -> int | str | list[int | str]:
        """As the profile says them; 0 for none. Variables that choose among them are used up."""
        spec = self.spec
        visible = {name: self.settled(value) for name in _VISIBLE if (value := spec.env.get(name))}
        chosen = _request(spec.gpus)
        if not chosen and spec.nvidia_runtime:
            chosen = _devices(visible.get("NVIDIA_VISIBLE_DEVICES", "all"))
        some = _devices(visible.get("CUDA_VISIBLE_DEVICES", ""))
        if chosen == "all" and some and some != "all":
            chosen = some
            self.notes.append("CUDA_VISIBLE_DEVICES is left out: `gpus` says which they are.")
        elif some and "CUDA_VISIBLE_DEVICES" in visible and chosen:
            self.env["CUDA_VISIBLE_DEVICES"] = visible["CUDA_VISIBLE_DEVICES"]
        return chosen

    def memory(self) -> None:
        spec = self.spec
        if spec.host_ipc:
            self.data["ipc"] = "host"
            if spec.shm_bytes:
                self.notes.append("`--shm-size` is left out: with `--ipc=host` it is the machine's.")
        elif spec.shm_bytes:
            unit, letter = next(((unit, letter) for unit, letter in _SIZES if spec.shm_bytes % unit == 0), (1, ""))
            self.data["shm_size"] = f"{spec.shm_bytes // unit}{letter}" if letter else spec.shm_bytes

    # -- ports --------------------------------------------------------------------------------------------------------

    def expose(self, inside: Mapping[str, int]) -> None:
        """`inside`: the server's ports in the container, by their purposes; the first is needed."""
        first = next(iter(inside))
        expose: dict[str, int | str] = {}
        used: list[Published] = []
        for purpose, port in inside.items():
            found = [one for one in self.spec.ports if one.container_port == port]
            if found:
                used.append(found[0])
                expose[purpose] = found[0].host_port or "auto"
            elif self.spec.host_network:
                expose[purpose] = port
            elif purpose == first:
                expose[purpose] = "auto"
                self.notes.append(f"No port is published for {purpose}: it gets a free one on 127.0.0.1.")
            else:
                self.notes.append(f"The port for {purpose} ({port}) is not published: `expose` leaves it out.")
        for other in self.spec.ports:
            if other not in used:
                self.notes.append(f"The published port {other.container_port} is left out: the server is not on it.")
        if self.spec.host_network:
            self.notes.append("`--network host` is left out: the ports are published, on 127.0.0.1.")
        self._bind(used)
        self.data["expose"] = expose

    def _bind(self, ports: Sequence[Published]) -> None:
        stated = list(dict.fromkeys(port.host_ip for port in ports))
        own = [ip for ip in stated if ip not in (*_ANY, *_LOOPBACK)]
        if self._keep_open and len(stated) == 1 and stated[0] in _ANY:
            self.data["bind"] = stated[0] or "0.0.0.0"  # noqa: S104 (as it is)
        elif len(stated) > 1 or (stated and stated[0] in _ANY):
            where = "different addresses" if len(stated) > 1 else "every address of the machine"
            self.notes.append(f"Ports that were open on {where} are bound to 127.0.0.1: `bind` opens them again.")
        elif own or stated == ["::1"]:
            self.data["bind"] = stated[0]

    # -- mounts -------------------------------------------------------------------------------------------------------

    def on_machine(self, path: str) -> str | None:
        """Where a path in the container is on this machine; None when nothing of it is mounted there."""
        inner = self._inside(path)
        for mount in sorted(self._mounts, key=lambda one: -len(one.target)):
            if mount.source.startswith("/") and inner.is_relative_to(mount.target):
                return str(PurePosixPath(mount.source) / inner.relative_to(mount.target))
        return None

    def use_up(self, path: str, words: Sequence[str]) -> None:
        """The mount for `path` is the stack's to make, unless something else in `words` or the variables needs it."""
        inner = self._inside(path)
        for mount in sorted(self._mounts, key=lambda one: -len(one.target)):
            if inner.is_relative_to(mount.target):
                others = [word for word in (*words, *self.env.values()) if mount.target in word and path not in word]
                if not others:
                    self._mounts.remove(mount)
                return

    def _inside(self, path: str) -> PurePosixPath:
        return PurePosixPath(posixpath.normpath(posixpath.join(self.spec.working_dir, path)))

    def take_mounts(self, targets: Sequence[str]) -> list[Mount]:
        """Those at these places, taken out."""
        taken = [mount for mount in self._mounts if mount.target in targets]
        self._mounts = [mount for mount in self._mounts if mount not in taken]
        return taken

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return tuple(self._mounts)

    def keep_mounts(self) -> None:
        kept: list[str] = []
        for mount in self._mounts:
            text = f"{mount.source}:{mount.target}"
            if mount.source == _DOCKER_SOCKET:
                self.notes.append(f"The mount {text} is left out: it would give the server power over the machine.")
            elif text.count(":") > 1 or clean_line(text) != text:
                self.notes.append(f"The mount {text} is left out: a profile cannot say such a path.")
            else:
                kept.append(text + ("" if mount.read_only else ":rw"))
        if kept:
            self.data["mounts"] = kept


def _request(text: str) -> int | str | list[int | str]:
    """What `--gpus` asks for."""
    chosen: int | str | list[int | str] = 0
    for field in fields(text):
        key, equals, value = field.partition("=")
        if key == "device" and equals:
            chosen = _devices(value)
        elif key == "count" or not equals:
            # Without the quotes that Docker wants, more devices follow a comma.
            chosen = [*chosen, *_listed(field)] if isinstance(chosen, list) else _count(value or field)
    return chosen


def _count(text: str) -> int | str:
    return "all" if text in ("all", "-1") or not text.isdecimal() else int(text)


def _devices(text: str) -> int | str | list[int | str]:
    if text in ("", "none", "void"):
        return 0
    return "all" if text == "all" else _listed(text)


def _listed(text: str) -> list[int | str]:
    return [int(one) if one.isdecimal() else one for part in text.split(",") if (one := part.strip())]


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", text.lower()).strip("-.")[:63].rstrip("-.")
