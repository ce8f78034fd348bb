"""A pasted `docker run …` line as the container that it would run."""

import difflib
import errno
import os
import re
from collections.abc import Mapping, Sequence
from itertools import dropwhile
from pathlib import Path, PurePosixPath

from engine.authoring.docker_flags import ALIASES, GLOBAL_WITH_VALUE, OWN, REASONS, SHORT, SWITCHES, WITH_VALUE
from engine.authoring.shell import Command, commands
from engine.authoring.spec import ContainerSpec, Published, as_written, fields, settle
from engine.catalog import resolved
from engine.errors import InvalidProfile
from engine.plan import Mount
from engine.text import clean_line, mask_secrets

PROGRAMS = ("docker", "podman", "nvidia-docker")
LONGEST_RANGE = 64
LONGEST_ENV_FILE = 1 << 20
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgtp]?)i?b?", re.IGNORECASE)
_UNTOLD = ("label", "label-file", "annotation", "secret", "log-opt", "health-cmd")
"""Their values are nobody's business"""
_USUAL_LIMITS = ("memlock=-1", "memlock=-1:-1", "stack=67108864")
"""As in NVIDIA's own lines; the stacks that need them set them"""
_USUAL = ("", "host", "private", "shareable", "bridge", "default")
"""Networks and kinds of IPC that are understood, or what every container has"""
_CDI = "nvidia.com/gpu="


def from_line(text: str, environ: Mapping[str, str], working_dir: Path) -> ContainerSpec:
    """`environ`: that of whoever pastes it, for paths that name its variables.

    Raises `InvalidProfile` when there is no such line in it, or one that cannot be understood.
    """
    found = [line for one in commands(text, environ.get("HOME", "~"), str(working_dir)) if (line := _run_line(one))]
    if not found:
        raise InvalidProfile(
            "There is no `docker run` line in that text.",
            "Paste one with all its options; a container that runs, however it was started, is imported with"
            " --container NAME.",
        )
    (program, words), command = found[0]
    reader = _Flags({**environ, **command.assigned}, command.assigned, working_dir)
    if program == "nvidia-docker":
        reader.nvidia_runtime = True
    if len(found) > 1:
        reader.notes.append("The text has more than one `docker run`: this is the first.")
    return reader.read(words)


def _run_line(command: Command) -> tuple[tuple[str, Sequence[str]], Command] | None:
    """The program and what follows `run`; None for another command."""
    words = list(command.words)
    if words[0] in ("sudo", "nohup", "time", "exec"):
        words = list(dropwhile(lambda word: PurePosixPath(word).name not in PROGRAMS, words))
    if not words or PurePosixPath(words[0]).name not in PROGRAMS:
        return None
    program = PurePosixPath(words.pop(0)).name
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in GLOBAL_WITH_VALUE and words:
            words.pop(0)
    if words[:1] == ["container"]:
        words.pop(0)
    return ((program, words[1:]), command) if words[:1] in (["run"], ["create"]) else None


class _Flags:
    """Reads the options of one line."""

    def __init__(self, environ: Mapping[str, str], assigned: Mapping[str, str], working_dir: Path) -> None:
        self._environ = environ
        self._assigned = assigned
        self._working_dir = working_dir
        self.nvidia_runtime = False
        self.notes: list[str] = []
        self._own: list[str] = []
        self._ports: list[Published] = []
        self._mounts: list[Mount] = []
        self._env: dict[str, str | None] = {}
        self._devices: list[str] = []
        self._one: dict[str, str] = {}
        """Options of which the last counts"""

    def read(self, words: Sequence[str]) -> ContainerSpec:
        """Raises `InvalidProfile`."""
        rest = list(words)
        while rest and rest[0].startswith("-") and rest[0] != "-":
            word = rest.pop(0)
            if word == "--":
                break
            if word.startswith("--"):
                self._long(word, rest)
            else:
                self._short(word, rest)
        if not rest:
            raise InvalidProfile("The line names no image.", "Paste all of it: image and command are at its end.")
        if self._own:
            self.notes.append(
                f"{', '.join(dict.fromkeys(self._own))}: deployments run in the background and are kept, with their"
                " log, until they are removed."
            )
        gpus = self._one.get("gpus", "")
        if self._devices:
            gpus = "all" if "all" in self._devices else f"device={','.join(self._devices)}"
        entrypoint = self._one.get("entrypoint")
        return ContainerSpec(
            image=self._settled(rest[0]),
            arguments=tuple(rest[1:]),
            entrypoint=None if entrypoint is None else ((entrypoint,) if entrypoint else ()),
            name=self._one.get("name", ""),
            ports=tuple(self._ports),
            host_network=self._one.get("network") == "host",
            mounts=tuple(self._mounts),
            env=self._env,
            gpus=gpus,
            nvidia_runtime=self.nvidia_runtime,
            shm_bytes=self._shm(),
            host_ipc=self._one.get("ipc") == "host",
            working_dir=self._one.get("workdir", ""),
            variables=self._assigned,
            left_out=tuple(self.notes),
        )

    def _long(self, word: str, rest: list[str]) -> None:
        name, equals, value = word[2:].partition("=")
        name = ALIASES.get(name, name)
        if name in SWITCHES:
            if value not in ("false", "0"):
                self._take(name, "", word.partition("=")[0])
        elif name in WITH_VALUE:
            if not equals and not rest:
                raise InvalidProfile(f"The line ends with --{name}, without its value.", "Paste all of it.")
            self._take(name, value if equals else rest.pop(0), f"--{name}")
        elif equals:
            self.notes.append(
                f"`--{clean_line(name)}` is left out: it is no option of `docker run` that is known here."
            )
        else:
            near = difflib.get_close_matches(name, WITH_VALUE | SWITCHES, n=1)
            raise InvalidProfile(
                f"No option --{clean_line(name)} of `docker run` is known here, so what follows it cannot be read.",
                f"Did you mean --{near[0]}?" if near else "Take it out of the line.",
            )

    def _short(self, word: str, rest: list[str]) -> None:
        letters = word[1:]
        for at, letter in enumerate(letters):
            name = SHORT.get(letter)
            if name is None:
                raise InvalidProfile(
                    f"`docker run` has no option -{clean_line(letter)} (in {clean_line(word)}).", "Correct the line."
                )
            if name in SWITCHES:
                self._take(name, "", f"-{letter}")
                continue
            value = letters[at + 1 :].removeprefix("=")
            if not value and not rest:
                raise InvalidProfile(f"The line ends with -{letter}, without its value.", "Paste all of it.")
            self._take(name, value or rest.pop(0), f"-{letter}")
            return

    def _take(self, name: str, value: str, typed: str) -> None:
        match name:
            case "env":
                self._variable(value)
            case "env-file":
                self._env_file(self._settled(value))
            case "publish":
                self._publish(self._settled(value))
            case "volume":
                self._volume(self._settled(value))
            case "mount":
                self._mount(self._settled(value))
            case "device" if value.startswith(_CDI):
                self._devices.append(value.removeprefix(_CDI))
            case "runtime":
                self.nvidia_runtime = self.nvidia_runtime or value == "nvidia"
                if value not in ("nvidia", "runc"):
                    self._leave_out(name, value)
            case "name" | "gpus" | "shm-size" | "entrypoint":
                self._one[name] = self._settled(value)
            case "workdir":
                self._one[name] = self._settled(value)
                self._leave_out(name, value)
            case "ipc" | "network":
                self._one[name] = value
                if value not in _USUAL:
                    self._leave_out(name, value)
            case "ulimit" if value in _USUAL_LIMITS:
                pass
            case _ if name in OWN:
                if name in ("interactive", "tty", "rm", "attach"):
                    self._own.append(typed)
            case _:
                self._leave_out(name, value)

    def _leave_out(self, name: str, value: str) -> None:
        told = "" if name in _UNTOLD or not value else f" {as_written(mask_secrets(value))}"
        reason = REASONS.get(name, "no profile says it")
        self.notes.append(f"`--{name}{clean_line(told)}` is left out: {reason}.")

    def _settled(self, text: str) -> str:
        settled = settle(text, self._environ)
        self.notes += settled.notes
        return settled.text

    def _shm(self) -> int | None:
        text = self._one.get("shm-size")
        if text is None:
            return None
        match = _SIZE.fullmatch(text.strip())
        if not match:
            self.notes.append(f"`--shm-size {clean_line(text)}` is left out: that is no size.")
            return None
        return int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " ")) or None

    def _variable(self, text: str) -> None:
        name, equals, value = text.partition("=")
        self._env[name] = value if equals else None

    def _env_file(self, path: str) -> None:
        try:
            file = resolved(self._working_dir / path)
            lines = _start_of(file).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            self.notes.append(f"The file of variables {clean_line(path)} cannot be read ({why}): write them by hand.")
            return
        for line in lines:
            if line.strip() and not line.lstrip().startswith("#"):
                self._variable(line.strip())

    def _publish(self, text: str) -> None:
        ports = published(text)
        if ports is None:
            self.notes.append(f"`-p {clean_line(text)}` is left out: it names no TCP port.")
        else:
            self._ports += ports

    def _volume(self, text: str) -> None:
        source, colon, rest = text.partition(":")
        target, _, options = rest.partition(":")
        if not colon or not target.startswith("/"):
            self.notes.append(f"`-v {clean_line(text)}` is left out: it names nothing of this machine.")
            return
        self._mounts.append(Mount(self._source(source), _folder(target), "ro" in options.split(",")))

    def _mount(self, text: str) -> None:
        parts = {key: value for key, _, value in (field.partition("=") for field in fields(text))}
        kind = parts.get("type", "volume")
        source = parts.get("source") or parts.get("src")
        target = parts.get("target") or parts.get("destination") or parts.get("dst") or ""
        if kind not in ("bind", "volume") or not source or not target.startswith("/"):
            self.notes.append(f"`--mount {clean_line(text)}` is left out: it names nothing of this machine.")
            return
        frozen = any(parts.get(key, "false") in ("", "true", "1") for key in ("readonly", "ro"))
        self._mounts.append(Mount(self._source(source) if kind == "bind" else source, _folder(target), frozen))

    def _source(self, source: str) -> str:
        """A name without a slash is a volume's."""
        if "/" not in source and not source.startswith("."):
            return source
        return os.path.normpath(self._working_dir / source)


def published(text: str) -> list[Published] | None:
    """`[IP:][HOST:]CONTAINER[/tcp]`, with ranges; None for what is none of it."""
    text, _, kind = text.partition("/")
    ip, host = "", ""
    if text.startswith("["):
        ip, _, text = text[1:].partition("]:")
    *before, inside = text.split(":")
    if before:
        host = before.pop()
    if before and not ip:
        ip = before.pop()
    inner, outer = _range(inside), _range(host) if host else None
    if kind not in ("", "tcp") or before or inner is None or (host and outer is None):
        return None
    if outer is None or len(outer) != len(inner):
        return [Published(port, None, ip) for port in inner]
    return [Published(port, on_host, ip) for port, on_host in zip(inner, outer, strict=True)]


def _range(text: str) -> range | None:
    match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", text)
    if not match:
        return None
    first, last = int(match[1]), int(match[2] or match[1])
    return range(first, last + 1) if 0 < first <= last < 65536 and last - first < LONGEST_RANGE else None


def _start_of(file: Path) -> str:
    """Raises OSError, also for what is no regular file and may never end, and UnicodeDecodeError."""
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    with file.open(encoding="utf-8") as opened:
        return opened.read(LONGEST_ENV_FILE)


def _folder(target: str) -> str:
    return target.rstrip("/") or "/"
