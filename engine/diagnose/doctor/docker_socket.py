"""Who may use Docker: whoever may is root on this machine."""

import grp
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed, number
from engine.errors import EngineError
from engine.finding import Finding, Severity

ID = "docker-socket"
DEFAULT = "unix:///var/run/docker.sock"
_ROOT = "Whoever may use Docker is root on this machine"


def look(facts: Facts) -> Iterator[Finding]:
    url = facts.host.environ.get("DOCKER_HOST") or _used(facts)
    if url.startswith("unix://"):
        yield from _socket(facts, url.removeprefix("unix://"))
    elif url.startswith(("tcp://", "http://")) and not facts.host.environ.get("DOCKER_TLS_VERIFY"):
        yield Finding(
            ID,
            "Docker by plain tcp",
            Severity.WARNING,
            f"DOCKER_HOST is {url}, without TLS (DOCKER_TLS_VERIFY is not set). {_ROOT}: there, everybody who reaches"
            " that address.",
            "Use the socket, or TLS; over the network an SSH tunnel does.",
            "unset DOCKER_HOST",
        )


def _used(facts: Facts) -> str:
    """The address of the chosen context, where the engine answers."""
    try:
        return facts.daemon().url
    except EngineError:
        return DEFAULT


def _socket(facts: Facts, path: str) -> Iterator[Finding]:
    socket = facts.host.path(path)
    try:
        status = socket.stat()
    except OSError:
        return  # that it is not there is Docker's finding
    mode = stat.S_IMODE(status.st_mode)
    owner, group = _owner(status.st_uid, status.st_gid)
    seen = f"{path} is {owner}:{group} {mode:04o}"
    if mode & stat.S_IWOTH and _is_reached_by_all(socket):
        yield Finding(
            ID,
            "Everybody may use Docker",
            Severity.WARNING,
            f"{seen}: every user and every program on this machine can write to it. {_ROOT}.",
            "Take the right away from others; the group docker is for those who may.",
            f"sudo chmod o-rw {quote(path)}",
        )
        return
    members = _members(status.st_gid) if mode & stat.S_IWGRP and status.st_gid else []
    told = f" The group {group} has {number(len(members), 'member')}: {listed(members)}." if members else ""
    yield Finding(ID, "Docker's socket is closed to others", Severity.OK, f"{seen}.{told}")


def _is_reached_by_all(socket: Path) -> bool:
    try:
        return all(folder.stat().st_mode & stat.S_IXOTH for folder in socket.resolve().parents)
    except OSError:
        return False


def _members(group: int) -> list[str]:
    """Those who are named in the group, and those whose own group it is."""
    try:
        named = grp.getgrgid(group).gr_mem
    except KeyError:
        named = []
    return sorted({*named, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == group)})


def _owner(user: int, group: int) -> tuple[str, str]:
    """Names; the numbers of what has none."""
    try:
        owner = pwd.getpwuid(user).pw_name
    except KeyError:
        owner = str(user)
    try:
        return owner, grp.getgrgid(group).gr_name
    except KeyError:
        return owner, str(group)
