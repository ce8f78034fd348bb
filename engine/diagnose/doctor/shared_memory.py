"""Shared memory, by which the processes of one server talk: /dev/shm, the machine's and a container's."""

from collections.abc import Iterator
from pathlib import Path

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed, size
from engine.finding import Finding, Severity

ID = "shared-memory"
DOCKER_DEFAULT = 64 << 20
"""Of a container for which nothing else is said"""
_LEAST = 1 << 30
"""NCCL's own remedy is 1 to 10 GB; Triton's run line has --shm-size=1G"""
_FULL = 0.75
SHM = "/dev/shm"  # noqa: S108 (it is looked at)


def look(facts: Facts) -> Iterator[Finding]:
    needs = facts.needs()
    tight = {
        need.name: need.shm_bytes or DOCKER_DEFAULT
        for need in needs.parallel
        if need.on_docker and not need.host_ipc and (need.shm_bytes or DOCKER_DEFAULT) < _LEAST
    }
    if tight:
        told = listed(f"{name} {size(amount)}" for name, amount in tight.items())
        yield Finding(
            ID,
            "Too little shared memory for several GPUs",
            needs.error,
            f"{SHM} of the container would be: {told}. Its ranks and NCCL need {size(_LEAST)} and more, and end with"
            " a bus error or `Error while creating shared memory segment` otherwise.",
            "Set `shm_size: 8g` in the profile, or take `shm_size` out: tritontui gives enough by itself.",
        )
    yield from _of_the_machine(facts)


def _of_the_machine(facts: Facts) -> Iterator[Finding]:
    needs = facts.needs()
    users = [need.name for need in needs.profiles if need.host_ipc or not need.on_docker]
    parallel = [need.name for need in needs.parallel if need.name in users]
    kind, found = facts.host.file_system(Path(SHM)), facts.host.space(Path(SHM))
    if found is None or (kind and kind != "tmpfs"):
        what = f"It is on {kind}, not tmpfs" if found else "There is none"
        yield Finding(
            ID,
            f"{SHM} is no memory",
            needs.error if users else Severity.WARNING,
            f"{what} (/proc/self/mountinfo)." + (f" It is used by {listed(users)}." if users else ""),
            "Mount it.",
            f"sudo mount -t tmpfs -o size=50% tmpfs {SHM}",
        )
        return
    seen = f"{size(found.free)} of {size(found.total)} are free in {SHM} (statvfs)"
    used = f"; used by {listed(users)}" if users else ""
    if parallel and found.free < _LEAST:
        yield Finding(
            ID,
            "Too little shared memory on the machine",
            needs.error,
            f"{seen}, and {listed(parallel)} with several GPUs need {size(_LEAST)} and more.",
            "Make it larger, and look for what servers that were killed have left there.",
            f"sudo mount -o remount,size=50% {SHM}; ls -lhS {SHM}",
        )
    elif found.total and 1 - found.free / found.total > _FULL:
        yield Finding(
            ID,
            f"{SHM} is nearly full",
            Severity.WARNING,
            f"{seen}: it is the machine's memory, and servers that were killed leave theirs there.",
            "Remove what belongs to no running program: `sudo lsof +D /dev/shm` lists what does.",
            f"ls -lhS {SHM}",
        )
    else:
        yield Finding(ID, "Shared memory", Severity.OK, f"{seen}{used}.")
