"""The machine's own memory against the weights that go through it, and how the kernel gives it out."""

from collections.abc import Iterator

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import size
from engine.finding import Finding, Severity

ID = "memory"
_LEAST = 4 << 30
_MUCH_SWAPPED = 0.5
_STRICT = "2"


def look(facts: Facts) -> Iterator[Finding]:
    meminfo = _meminfo(facts)
    available, total = meminfo.get("MemAvailable"), meminfo.get("MemTotal")
    if available is None or total is None:
        yield Finding(ID, "Memory", Severity.UNKNOWN, "/proc/meminfo does not tell it.")
        return
    swap, free = meminfo.get("SwapTotal", 0), meminfo.get("SwapFree", 0)
    swapped = f", {size(swap - free)} of {size(swap)} swap in use" if swap else ", no swap"
    seen = f"{size(available)} of {size(total)} are available{swapped} (/proc/meminfo)"
    needs = facts.needs()
    largest = max(needs.profiles, key=lambda need: need.model_bytes or 0, default=None) if needs.wanted else None
    if largest and largest.model_bytes and largest.model_bytes > available:
        yield Finding(
            ID,
            "Less memory than the largest model's weights",
            Severity.WARNING,
            f"{seen}; the weights of {largest.name} are {size(largest.model_bytes)}: they are read through memory,"
            " each rank"
            " for itself, and what has no room is read from the disk again.",
            "Expect slow starts, or end what takes the memory.",
        )
    elif available < _LEAST:
        yield Finding(
            ID,
            "Little memory is available",
            Severity.WARNING,
            f"{seen}: a server of one small model takes more while it loads.",
            "End what takes it.",
            "ps axo pid,rss,comm --sort -rss | head",
        )
    elif swap and swap - free > swap * _MUCH_SWAPPED and swap - free > _LEAST:
        yield Finding(
            ID,
            "Much of memory is swapped out",
            Severity.WARNING,
            f"{seen}: what is swapped answers slowly.",
            "End what takes the memory; see what is swapped.",
            "grep -H VmSwap /proc/[0-9]*/status | sort -k2 -n -r | head",
        )
    else:
        yield Finding(ID, "Memory", Severity.OK, f"{seen}.")
    if facts.host.text("/proc/sys/vm/overcommit_memory").strip() == _STRICT:
        yield Finding(
            ID,
            "The kernel promises no more memory than it has",
            Severity.WARNING,
            "vm.overcommit_memory is 2 (/proc/sys): CUDA reserves far more addresses than it uses, and is refused"
            " them.",
            "Set it to 0, the default.",
            "sudo sysctl vm.overcommit_memory=0",
        )


def _meminfo(facts: Facts) -> dict[str, int]:
    """Bytes."""
    found: dict[str, int] = {}
    for line in facts.host.text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return found
