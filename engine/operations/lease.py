"""One change at a time per machine: the lease, a record that is kept with each runtime.

How a lease is taken over when its holder is dead. No runtime can remove a record on the condition that it is still
the same, and between the look at a dead one and its removal another may have taken it over and made its own, which
must not be removed. So the right to remove is itself such a record, one level up: a dead holder's record is removed
only by who holds the next level's, and only after reading it again. While it is held nobody else removes what is below,
and the dead one cannot, so what was read stays true until it is removed, however long that takes; who comes later
finds another token and removes nothing. A holder of the next level who dies is taken over in the same way.
What a killed takeover leaves above a lease that is free again is cleared by the next one that takes the lease.

It ends where nothing is left to hold: a removal that the container engine carries out long after its sender was killed,
or a person who removes volumes. That is noticed by `confirm`, before each step that changes something.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from engine.durations import duration
from engine.errors import EngineError, OperationFailed, RuntimeAbsent, RuntimeUnreachable
from engine.lease import LEASE, Holder
from engine.operations.lease_found import Found
from engine.runtimes.base import Runtime
from engine.snapshot import LeaseStatus

LEVELS = 6
"""The lease, and those above it. Each of these is left only by a takeover of the one below that is itself killed."""
TRIES = 20
PATIENCE_S = 2.0
"""How long another may take to take over"""
GIVE_BACK_S = 30.0
"""A restart of the container engine takes less"""
POLL_S = 0.05


def current(runtimes: Mapping[str, Runtime]) -> LeaseStatus | None:
    """What is held now, as far as the runtimes answer; a living holder's before a dead one's."""
    found = []
    for name in sorted(runtimes):
        try:
            facts = runtimes[name].record(LEASE)
        except RuntimeUnreachable:  # which the runtime's own status says
            continue
        except EngineError:
            facts = {}
        if facts is not None:
            found.append(Found.read(name, LEASE, 0, facts).status())
    return next((status for status in found if status.alive is not False), found[0] if found else None)


@contextmanager
def held(
    runtimes: Mapping[str, Runtime],
    holder: Holder,
    note: Callable[[str], None],
    *,
    needed: Collection[str] = (),
    name: str = LEASE,
) -> Iterator["Lease"]:
    """Holds the machine against all others who change it. `note` is given what the operator should know.

    Raises `Refused` while somebody else has it, `RuntimeUnreachable` when a runtime in `needed` does not answer, and
    `OperationFailed` when a runtime that answers cannot keep it.
    """
    lease = Lease(runtimes, holder, note, needed=needed, name=name)
    try:
        lease.take()
        yield lease
    finally:
        lease.give_back()


class Lease:
    """One holder's, with all runtimes. For one thread."""

    def __init__(
        self,
        runtimes: Mapping[str, Runtime],
        holder: Holder,
        note: Callable[[str], None],
        *,
        needed: Collection[str] = (),
        name: str = LEASE,
    ) -> None:
        self._runtimes = runtimes
        self._holder = holder
        self._facts = holder.to_facts()
        self._note = note
        self._needed = needed
        self._name = name
        self._taken: list[str] = []
        self._kept: list[tuple[str, str]] = []
        """Runtime and record of all that are ours, and that may be: the answer was lost"""
        self._told: set[str] = set()
        """What was noted and is not to be repeated: runtimes that do not answer, tokens of the dead"""

    def take(self) -> None:
        """Raises what `held` raises; what was taken before that is given back with `give_back`."""
        # Always in this order (docker, process), so that no two wait for each other.
        for runtime in sorted(self._runtimes):
            try:
                self._take(runtime)
            except RuntimeAbsent:
                if runtime in self._needed:
                    raise
            except (RuntimeUnreachable, OperationFailed) as error:
                if runtime in self._needed:
                    raise
                self._tell_once(runtime, f"{error.what} Others who use {runtime} are not kept out.")
            else:
                self._taken.append(runtime)

    def confirm(self) -> None:
        """To be called before each step that changes something. A runtime that does not answer is passed over.

        Raises `OperationFailed` when somebody else has the lease now, or it is gone and cannot be made again.
        """
        for runtime in self._taken:
            try:
                facts = self._runtimes[runtime].record(self._name)
                if facts is not None and facts.get("token") == self._holder.token:
                    continue
                other = self._claim(runtime, 0)
            except RuntimeUnreachable:  # as the step itself will find, if it needs it
                continue
            if other is not None:
                raise OperationFailed(
                    f"Somebody else is changing this machine: {other}; nothing more is done.",
                    "See what became of both with `tritontui history` and `tritontui ls`.",
                )
            self._note(f"Somebody removed this operation's lease from {runtime}; it was made again.")

    def give_back(self) -> None:
        """Once more is no error. What cannot be given back is noted: its holder will be dead."""
        deadline = time.monotonic() + GIVE_BACK_S
        while self._kept:
            runtime, record = self._kept[-1]
            try:
                self._drop(runtime, record)
            except EngineError as error:
                away = isinstance(error, RuntimeUnreachable)
                if away and runtime in self._taken and time.monotonic() < deadline:
                    time.sleep(POLL_S)
                    continue
                if not away or runtime in self._taken:
                    self._note(f"The lease is still with {runtime}: {error.what} The next operation takes it over.")
            self._kept.pop()
        self._taken.clear()

    def _take(self, runtime: str) -> None:
        for level in range(1, LEVELS - 1):
            facts = self._runtimes[runtime].record(self._record(level))
            if facts is not None and (found := self._found(runtime, level, facts)).alive is False:
                self._clear(found)
        deadline = time.monotonic() + PATIENCE_S
        while (other := self._claim(runtime, 0)) is not None:
            if not (other.alive and other.level) or time.monotonic() >= deadline:
                raise other.refusal()
            time.sleep(POLL_S)

    def _claim(self, runtime: str, level: int) -> Found | None:
        """None when the record is ours now, else who has it, or a level above it, and cannot be taken over."""
        dead: Found | None = None
        for _ in range(TRIES):
            found = self._keep(runtime, level)
            if found is None:
                if dead:
                    self._tell_taken_over(dead)
                return None
            if found.alive is not False or level == LEVELS - 1:
                return found
            dead = found
            if (above := self._clear(found)) is not None:
                return above
        return dead

    def _clear(self, dead: Found) -> Found | None:
        """Removes a dead holder's record, unless that has happened. Returns who is in the way."""
        above = self._claim(dead.runtime, dead.level + 1)
        if above is not None:
            return above
        facts = self._runtimes[dead.runtime].record(dead.record)
        if facts is not None and facts.get("token") == dead.token:
            self._runtimes[dead.runtime].drop_record(dead.record)
            self._tell_taken_over(dead)
        # Not when the removal broke off: it may still be carried out, and until that is over nobody may take it over.
        self._drop(dead.runtime, self._record(dead.level + 1))
        self._kept.remove((dead.runtime, self._record(dead.level + 1)))
        return None

    def _keep(self, runtime: str, level: int) -> Found | None:
        """None when it is ours."""
        entry = runtime, self._record(level)
        if entry not in self._kept:
            self._kept.append(entry)
        facts = self._runtimes[runtime].keep_record(self._record(level), self._facts)
        if facts.get("token") == self._holder.token:
            return None
        self._kept.remove(entry)
        return self._found(runtime, level, facts)

    def _drop(self, runtime: str, record: str) -> None:
        facts = self._runtimes[runtime].record(record)
        if facts is not None and facts.get("token") == self._holder.token:
            self._runtimes[runtime].drop_record(record)

    def _tell_taken_over(self, dead: Found) -> None:
        if dead.level or dead.holder is None:
            return
        whose = f"{dead.holder.user}'s {dead.holder.what}, begun {duration(time.time() - dead.holder.since)} ago"
        self._tell_once(dead.token, f"The lease of {whose}, was taken over: its process is gone.")

    def _tell_once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._note(text)

    def _found(self, runtime: str, level: int, facts: Mapping[str, str]) -> Found:
        return Found.read(runtime, self._record(level), level, facts)

    def _record(self, level: int) -> str:
        return self._name + "-over" * level
