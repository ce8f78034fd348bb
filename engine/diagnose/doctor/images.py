"""The images that the profiles name, and those that nobody uses any more."""

from collections.abc import Iterator
from shlex import quote

from engine.diagnose.doctor.facts import Facts
from engine.diagnose.doctor.image_drivers import wanted_of
from engine.diagnose.doctor.words import listed, number, size
from engine.finding import Finding, Severity

ID = "images"
_MANY = 20 << 30
_SHARE = 0.25
"""Of the disk: unused images that take more than this, of one that is no longer roomy, are worth a warning"""
_ROOMY = 0.3
_REMOVED_AT_ONCE = 5


def look(facts: Facts) -> Iterator[Finding]:
    stock, needs = facts.stock(), facts.needs()
    named = needs.images
    missing = [image for image in named if stock.env.get(image) is None]
    if missing and needs.wanted:
        fetched = sum(wanted_of(image, None).gigabytes or 0 for image in missing)
        told = f" Some {fetched:.0f} GB are fetched." if fetched else ""
        profiles = [name for image in missing for name in named[image]]
        yield Finding(
            ID,
            f"{number(len(missing), 'image')} of profiles {'is' if len(missing) == 1 else 'are'} not here",
            Severity.WARNING,
            f"{listed(missing)}, wanted by {listed(profiles)} (docker images): a start would be refused.{told}",
            "Fetch them first.",
            " && ".join(f"docker pull {quote(image)}" for image in missing[:_REMOVED_AT_ONCE]),
        )
    elif named and not missing:
        yield Finding(ID, "The images of the profiles are here", Severity.OK, f"{listed(named)} (docker images).")
    if not needs.named:  # what other profiles name is not known then
        yield from _unused(facts)


def _unused(facts: Facts) -> Iterator[Finding]:
    named = {name for image in facts.needs().images for name in (image, f"{image}:latest")}
    daemon = facts.daemon()
    unused = sorted(
        (one for one in facts.stock().images if not one.used and not set(one.names) & named),
        key=lambda one: -one.size,
    )
    total = sum(one.size for one in unused)
    if total < _MANY:
        return
    disk = facts.host.space(facts.host.path(daemon.root)) if daemon.local and daemon.root else None
    tight = disk is not None and disk.free < disk.total * _ROOMY and total > disk.total * _SHARE
    largest = [(one.names[0] if one.names else one.id.removeprefix("sha256:")[:12]) for one in unused]
    yield Finding(
        ID,
        "Images that nobody uses",
        Severity.WARNING if tight else Severity.INFO,
        f"{number(len(unused), 'image')} without a container or a profile, up to {size(total)} (docker images; layers"
        f" that they share are counted for each): {listed(largest)}.",
        "Remove those that nobody will start again.",
        f"docker image rm {' '.join(map(quote, largest[:_REMOVED_AT_ONCE]))}",
    )
