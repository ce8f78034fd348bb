"""The folders for weights and for tritontui's state: there, writable, and on what."""

import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.host import is_network
from engine.diagnose.doctor.words import listed, number, size
from engine.finding import Finding, Severity
from engine.stacks.huggingface import CACHE_VOLUME, hub_cache

ID = "cache"
_OLD_S = 24 * 3600.0
_MOST_FILES = 10_000


def look(facts: Facts) -> Iterator[Finding]:
    yield from _hub(facts, hub_cache())
    yield from _state(facts, facts.settings.state_dir)


def _hub(facts: Facts, folder: Path) -> Iterator[Finding]:
    needs = facts.needs()
    local = [need.name for need in needs.profiles if need.model and not need.on_docker]
    in_containers = [need.name for need in needs.profiles if need.model and need.on_docker]
    if not folder.is_dir():
        volume = f"; containers have the volume {CACHE_VOLUME} instead" if in_containers else ""
        yield Finding(
            ID,
            "No Hugging Face cache yet",
            Severity.INFO,
            f"{folder} does not exist{volume}.",
            "To share one cache between containers and programs, make it before the first start."
            if in_containers
            else "",
            f"mkdir -p {quote(str(folder))}" if in_containers else "",
        )
        return
    kind = facts.host.file_system(folder)
    if not facts.host.can_write(folder):
        yield Finding(
            ID,
            "The Hugging Face cache cannot be written",
            needs.error if local else Severity.WARNING,
            f"This user may not write to {folder} (access(2))."
            + (f" It is where {listed(local)} keep their weights." if local else " Containers write there as root."),
            "Give the folder to the user who starts models, or set HF_HOME to another.",
            f"sudo chown -R $(id -u):$(id -g) {quote(str(folder))}",
        )
    elif is_network(kind):
        yield Finding(
            ID,
            "The Hugging Face cache is on the network",
            Severity.INFO,
            f"{folder} is on {kind} (/proc/self/mountinfo): weights load at the network's pace, and a download locks"
            " files"
            " there.",
            "A local disk starts models sooner: set HF_HOME.",
        )
    else:
        yield Finding(ID, "Hugging Face cache", Severity.OK, f"{folder}, on {kind or 'an unknown file system'}.")
    yield from _unfinished(folder)


def _unfinished(folder: Path) -> Iterator[Finding]:
    count = total = 0
    try:
        for file, _ in zip(folder.glob("models--*/blobs/*.incomplete"), range(_MOST_FILES), strict=False):
            status = file.stat()
            if time.time() - status.st_mtime > _OLD_S:
                count, total = count + 1, total + status.st_blocks * 512
    except OSError:
        return  # it changes, or is not for this user
    if total > 1 << 30:
        yield Finding(
            ID,
            "Downloads that were never finished",
            Severity.INFO,
            f"{number(count, 'file')} of {size(total)} under {folder} ended in .incomplete more than a day ago.",
            "A new download goes on with them; remove those of models that nobody wants.",
            f"find {quote(str(folder))} -name '*.incomplete' -mtime +1",
        )


def _state(facts: Facts, folder: Path) -> Iterator[Finding]:
    existing = next(one for one in (folder, *folder.parents) if one.exists())
    kind = facts.host.file_system(existing)
    if not facts.host.can_write(existing):
        yield Finding(
            ID,
            "tritontui's folder of state cannot be written",
            Severity.ERROR,
            f"This user may not write to {existing} (access(2)): nothing can be started, since its journal is kept"
            " there.",
            "Give it to this user, or set TRITONTUI_STATE_DIR to another.",
            f"sudo chown -R $(id -u):$(id -g) {quote(str(existing))}",
        )
    elif is_network(kind):
        yield Finding(
            ID,
            "tritontui's folder of state is on the network",
            Severity.WARNING,
            f"{folder} is on {kind} (/proc/self/mountinfo): the locks of its database are not to be relied on there.",
            "Set TRITONTUI_STATE_DIR to a folder on a local disk.",
        )
