"""What the machine's own files and calls tell: /proc, /sys, /etc, limits, space. Nothing here is changed."""

import ctypes
import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.runtimes.listeners import listener
from engine.stacks.context import is_free
from engine.text import clean

LONGEST_TEXT = 1 << 20
PROGRAM_S = 5.0
NVIDIA = "0x10de"
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.s3", "fuse.gcsfuse", "lustre", "gpfs", "ceph", "glusterfs")
_PROGRAMS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/nvidia/toolkit"
"""Where services look, whatever the PATH of the person who asks"""
_TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised"""


@dataclass(frozen=True, slots=True)
class Space:
    """Of the file system that a folder is on, or would be. Bytes."""

    device: int
    """Which file system"""
    total: int
    free: int
    """For this user"""
    files_free: float | None = None
    """Share of its inodes; None where it has no fixed number of them"""


@dataclass(frozen=True, slots=True)
class Limit:
    """As `ulimit` shows it; None for unlimited."""

    soft: int | None
    hard: int | None


def space(path: Path) -> Space | None:
    """Of the nearest folder that exists; None when it cannot be told."""
    for folder in (path, *path.parents):
        try:
            found, device = os.statvfs(folder), folder.stat().st_dev
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        share = found.f_favail / found.f_files if found.f_files else None
        return Space(device, found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, share)
    return None


def which(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=_PROGRAMS)


def output(command: Sequence[str]) -> str:
    """What a program says of itself; empty when it is not here or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PROGRAM_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return clean(done.stdout)


def limit(name: str) -> Limit | None:
    """`name` as in `ulimit`'s RLIMIT_…; None when it cannot be told."""
    try:
        soft, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))
    except (AttributeError, ValueError, OSError):
        return None
    return Limit(*(None if one == resource.RLIM_INFINITY else one for one in (soft, hard)))


def is_synchronised() -> bool | None:
    """Whether the kernel says that something sets its clock right; None when it cannot be told."""
    asked = ctypes.create_string_buffer(512)  # a struct timex with no modes: nothing is set
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(asked)
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def can_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


@dataclass(frozen=True, slots=True)
class Host:
    """Readers that tests replace, one by one; `root` is where /proc, /sys, /etc and /dev are found."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    home: Path = field(default_factory=lambda: Path(os.path.expanduser("~")))  # noqa: PTH111 (it never raises)
    space: Callable[[Path], Space | None] = space
    which: Callable[[str], str | None] = which
    output: Callable[[Sequence[str]], str] = output
    limit: Callable[[str], Limit | None] = limit
    is_synchronised: Callable[[], bool | None] = is_synchronised
    is_free: Callable[[str, int], bool] = is_free
    listener: Callable[[int], str] = listener
    can_write: Callable[[Path], bool] = can_write

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """At most a MiB, cleaned; empty when there is no such file, or it is not for this user."""
        try:
            with self.path(path).open("rb") as file:
                return clean(file.read(LONGEST_TEXT).decode("utf-8", "replace"))
        except OSError:
            return ""

    def forbids(self, path: str) -> bool:
        """There is such a file, and this user may not read it."""
        try:
            with self.path(path).open("rb"):
                return False
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EPERM)

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in self.path(folder).iterdir())
        except OSError:
            return []

    def file_system(self, path: Path) -> str:
        """Its type, as `nfs4`; empty when it cannot be told."""
        best, kind = "", ""
        for line in self.text("/proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            fields, words = before.split(), after.split()
            if len(fields) < 5 or not words:
                continue
            point = fields[4].replace("\\040", " ")
            if len(point) >= len(best) and path.is_relative_to(point):
                best, kind = point, words[0]
        return kind

    def cards(self) -> list[str]:
        """PCI addresses of NVIDIA's GPUs that this machine may use: not those that are lent to a virtual one."""
        found = []
        for address in self.names("/sys/bus/pci/devices"):
            folder = f"/sys/bus/pci/devices/{address}"
            is_display = self.text(f"{folder}/class").startswith("0x03")
            if is_display and self.text(f"{folder}/vendor").strip() == NVIDIA:
                lent = self.path(f"{folder}/driver").resolve().name == "vfio-pci"
                found += [] if lent else [address]
        return found

    def distribution(self) -> str:
        """As /etc/os-release names it, its family counting: debian, ubuntu, rhel, …"""
        fields = dict(line.split("=", 1) for line in self.text("/etc/os-release").splitlines() if "=" in line)
        words = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
        return next((word for word in words if word in ("ubuntu", "debian", "rhel", "fedora", "suse")), "")


def is_network(file_system: str) -> bool:
    return file_system.startswith(_NETWORK)
