"""The profiles that the other checks are about."""

from collections.abc import Iterator

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.words import listed, number
from engine.finding import Finding, Severity

ID = "profiles"


def look(facts: Facts) -> Iterator[Finding]:
    needs = facts.needs()
    for name, why in needs.unplanned:
        yield Finding(
            ID,
            f"{name} cannot be planned",
            Severity.ERROR if needs.named else Severity.WARNING,
            why,
            "Correct the profile, or what it refers to.",
            f"tritontui plan {name}",
        )
    if needs.invalid:
        yield Finding(
            ID,
            f"{number(len(needs.invalid), 'file')} in the folders of profiles cannot be used",
            Severity.WARNING,
            listed(needs.invalid, 2),
            "Correct them.",
            "tritontui profiles check",
        )
    names = [need.name for need in needs.profiles]
    if not needs.wanted:
        yield Finding(
            ID,
            "Looked at for the profiles that ship",
            Severity.INFO,
            "There is no profile of yours, and nothing was started: the needs are those of"
            f" {number(len(names), 'example')}.",
        )
    elif names:
        yield Finding(ID, f"Looked at for {number(len(names), 'profile')}", Severity.OK, f"{listed(names, 8)}.")
