"""Room for images, weights and what tritontui keeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.host import Space
from engine.diagnose.doctor.image_drivers import wanted_of
from engine.diagnose.doctor.needs import Need
from engine.diagnose.doctor.words import listed, number, size
from engine.errors import EngineError
from engine.finding import Finding, Severity
from engine.stacks.huggingface import CACHE_VOLUME, cache_mount, hub_cache

ID = "disk"
_LEAST, _LEAST_SHARE = 5 << 30, 0.05
_LEAST_FILES = 0.02
_UNPACKED = 2
"""Layers are fetched and unpacked beside each other; the list of sizes is of what is fetched"""


@dataclass(slots=True)
class _Disk:
    """One file system and what is kept on it."""

    space: Space
    kept: list[str] = field(default_factory=list)
    needed: int = 0
    """Bytes that are still to come"""
    coming: list[str] = field(default_factory=list)


def look(facts: Facts) -> Iterator[Finding]:
    disks: dict[int, _Disk] = {}
    for path, what, coming in _places(facts):
        found = facts.host.space(path)
        if found is None:
            yield Finding(ID, f"Space for {what}", Severity.UNKNOWN, f"{path} cannot be looked at (statvfs).")
            continue
        disk = disks.setdefault(found.device, _Disk(found))
        disk.kept.append(f"{path} ({what})")
        disk.needed += sum(coming.values())
        disk.coming += coming
    for disk in disks.values():
        yield from _judged(facts, disk)


def _places(facts: Facts) -> Iterator[tuple[Path, str, Mapping[str, int]]]:
    """Folder, what is kept there, and what is still to come to it."""
    needs = facts.needs()
    profiles = needs.profiles if needs.wanted else ()
    in_volume = [need for need in profiles if need.on_docker and cache_mount().source == CACHE_VOLUME]
    try:
        daemon = facts.daemon()
        if daemon.local and daemon.root:
            coming = {**(_images(facts) if needs.wanted else {}), **_weights(in_volume)}
            yield Path(daemon.root), "images and volumes", coming
    except EngineError:
        pass  # Docker's own check tells it
    yield hub_cache(), "weights", _weights([need for need in profiles if need not in in_volume])
    yield facts.settings.state_dir, "tritontui's state", {}


def _images(facts: Facts) -> dict[str, int]:
    env, found = facts.stock().env, {}
    for image in facts.needs().images:
        gigabytes = wanted_of(image, None).gigabytes
        if env.get(image) is None and gigabytes:
            found[image] = int(gigabytes * 1e9 * _UNPACKED)
    return found


def _weights(needs: Sequence[Need]) -> dict[str, int]:
    return {need.model: need.model_bytes for need in needs if need.model and need.model_bytes and not need.cached}


def _judged(facts: Facts, disk: _Disk) -> Iterator[Finding]:
    free, total = disk.space.free, disk.space.total
    seen = f"{size(free)} of {size(total)} are free for {', '.join(disk.kept)} (statvfs)"
    coming = f"; about {size(disk.needed)} are to come: {listed(disk.coming)}" if disk.needed else ""
    if disk.needed > free:
        yield Finding(
            ID,
            "Too little room on the disk",
            facts.needs().error,
            f"{seen}{coming}.",
            "Free space, or put Docker's `data-root` or HF_HOME on another disk.",
            "docker system df -v",
        )
    elif free < _LEAST or free < total * _LEAST_SHARE:
        yield Finding(
            ID,
            "The disk is nearly full",
            Severity.WARNING,
            f"{seen}{coming}.",
            "Free space before the next image or model: a disk that fills up stops logs, and what writes, too.",
            "docker system df -v",
        )
    else:
        title = f"{size(free)} free on {number(1, 'disk')}".replace("on 1 disk", "on the disk")
        yield Finding(ID, title, Severity.OK, f"{seen}{coming}.")
    if disk.space.files_free is not None and disk.space.files_free < _LEAST_FILES:
        yield Finding(
            ID,
            "The disk has nearly no inodes left",
            Severity.WARNING,
            f"{disk.space.files_free:.1%} of them are free for {', '.join(disk.kept)} (statvfs).",
            "Remove many small files: unused images and layers first.",
            "docker image prune",
        )
