"""The clock: certificates, tokens and the history's times rely on it."""

import time
from collections.abc import Iterator
from pathlib import Path

import engine
from engine.diagnose.doctor.facts import Facts
from engine.finding import Finding, Severity

ID = "clock"
_SLACK_S = 24 * 3600.0


def look(facts: Facts) -> Iterator[Finding]:
    now = time.time()
    stamp = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(now))
    installed = Path(engine.__file__).stat().st_mtime
    if now < installed - _SLACK_S:
        yield Finding(
            ID,
            "The clock is behind",
            Severity.WARNING,
            f"It is {stamp} here, and tritontui was installed after that: downloads fail for their certificates.",
            "Set the clock, and let it be kept right.",
            "sudo timedatectl set-ntp true",
        )
        return
    synchronised = facts.host.is_synchronised()
    if synchronised is None:
        yield Finding(ID, "Clock", Severity.UNKNOWN, f"{stamp}; whether it is synchronised is not told (adjtimex).")
    elif not synchronised:
        yield Finding(
            ID,
            "Nothing keeps the clock right",
            Severity.INFO,
            f"{stamp}; the kernel says that it is not synchronised (adjtimex). In a virtual machine its host may do"
            " it.",
            "Unless it does, switch on time synchronisation.",
            "timedatectl status",
        )
    else:
        yield Finding(ID, "Clock", Severity.OK, f"{stamp}, synchronised (adjtimex).")
