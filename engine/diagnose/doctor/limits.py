"""Limits of what this user starts. Containers get theirs from Docker; local servers inherit these."""

from collections.abc import Iterator

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed, size
from engine.finding import Finding, Severity

ID = "limits"
_LEAST, _GOOD = 10_000, 65_536
"""Each connection takes some; vLLM raises its own limit to 65535 where it may"""


def look(facts: Facts) -> Iterator[Finding]:
    local = [need.name for need in facts.needs().profiles if not need.on_docker]
    files, locked = facts.host.limit("nofile"), facts.host.limit("memlock")
    if files is None:
        yield Finding(ID, "Limits", Severity.UNKNOWN, "The limits of this user cannot be read (getrlimit).")
        return
    used = f" They are inherited by {listed(local)}." if local else ""
    memory = "" if locked is None else f", memlock {_bytes(locked.soft)}"
    seen = f"nofile {_count(files.soft)}, at most {_count(files.hard)}{memory} (getrlimit).{used}"
    if files.hard is not None and files.hard < _LEAST:
        yield Finding(
            ID,
            "Few open files allowed",
            Severity.WARNING if local and facts.needs().wanted else Severity.INFO,
            f"{seen} A server with some thousand connections ends with `Too many open files`.",
            "Raise it, then log in again.",
            f"echo '* - nofile {_GOOD}' | sudo tee /etc/security/limits.d/90-nofile.conf",
        )
        return
    yield Finding(ID, "Limits", Severity.OK, seen)


def _count(limit: int | None) -> str:
    return "unlimited" if limit is None else str(limit)


def _bytes(limit: int | None) -> str:
    return "unlimited" if limit is None else size(limit)
