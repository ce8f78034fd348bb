"""A profile's own mounts: where they go, what they would hide, and what of the machine they would hand over."""

import os
import posixpath
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from engine.plan import Mount

if TYPE_CHECKING:
    from engine.stacks.context import PlanContext

_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]+")
"""Docker's own rule"""
_OF_THE_MACHINE = frozenset(
    ("/", "/boot", "/dev", "/etc", "/home", "/proc", "/root", "/run", "/sys", "/usr", "/var", "/var/lib", "/var/run")
)
MAX_LINKS_LOOKED_AT = 1000


def own_mounts(context: "PlanContext", ours: Iterable[Mount]) -> tuple[Mount, ...]:
    """Those of the profile. `ours`: those that the stack makes.

    Raises `InvalidProfile` for one that Docker would refuse or that would take the place of what tritontui puts there;
    warns of sources that are not here, and of those that hand over the machine.
    """
    taken = {mount.target for mount in ours}
    found: list[Mount] = []
    for text in context.profile.mounts:
        mount = _mount(context, text)
        if mount.target in taken or Path(mount.target).is_relative_to(context.files_root):
            raise context.invalid(f"`mounts` has {mount.target}, where something else is put.", "Name another target.")
        if mount.target == "/":
            raise context.invalid("`mounts` names / as a target, which no container takes.", "Name a folder in it.")
        taken.add(mount.target)
        _warn(context, text.partition(":")[0], mount)
        found.append(mount)
    return tuple(found)


def warn_of_links(context: "PlanContext", folder: Path) -> None:
    """Of a folder that is mounted: a link that leads out of it leads nowhere in the container."""
    try:
        with os.scandir(folder) as entries:
            for entry, _ in zip(entries, range(MAX_LINKS_LOOKED_AT), strict=False):
                if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(folder):
                    context.warnings.append(
                        f"{entry.path} is a link that leads out of the folder, and the container sees only the folder:"
                        " put the file itself there."
                    )
                    return
    except (OSError, RuntimeError):
        return  # whoever reads the folder says what is wrong with it


def _mount(context: "PlanContext", text: str) -> Mount:
    source, target, *mode = text.split(":")
    if source.startswith((".", "~", "/")):
        source = str(context.resolve(source))
    elif not _VOLUME.fullmatch(source):
        raise context.invalid(
            f"`mounts` has the source {source}, which is neither a path nor the name of a volume.",
            "Begin a path with ./, / or ~/.",
        )
    return Mount(source, "/" + posixpath.normpath(target).strip("/"), read_only=mode != ["rw"])


def _warn(context: "PlanContext", written: str, mount: Mount) -> None:
    if not mount.source.startswith("/"):
        if (context.path.parent / mount.source).is_dir():
            context.warnings.append(f"`mounts`: {written} is taken for a volume; write ./{written} for the folder.")
        return
    try:
        mode = Path(mount.source).stat().st_mode
    except FileNotFoundError:
        context.warnings.append(f"`mounts`: there is no {mount.source}, and Docker starts nothing without it.")
        return
    except OSError:
        return  # Docker may see what this user may not
    if stat.S_ISSOCK(mode):
        context.warnings.append(
            f"`mounts` hands the server the socket {mount.source}: through the one of a container engine it can do"
            " anything on this machine."
        )
    elif mount.source in _OF_THE_MACHINE:
        what = "read" if mount.read_only else "read and change"
        context.warnings.append(f"`mounts` lets the server {what} the machine's own {mount.source}.")
