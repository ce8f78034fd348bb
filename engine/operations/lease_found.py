"""What a lease's record says of its holder, and what to tell who meets it."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from engine.durations import duration
from engine.errors import Refused
from engine.lease import Holder
from engine.snapshot import LeaseStatus

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LAST_PID = 1 << 22
_LAST_TIME = 1e11


@dataclass(frozen=True, slots=True)
class Found:
    """A record that is not ours."""

    runtime: str
    record: str
    level: int
    token: str
    holder: Holder | None
    """None: its facts are not what we write"""
    alive: bool | None

    @classmethod
    def read(cls, runtime: str, record: str, level: int, facts: Mapping[str, str]) -> "Found":
        try:
            holder = Holder.from_facts(facts)
        except (ValueError, KeyError):
            return cls(runtime, record, level, "", None, None)
        sane = _TOKEN.fullmatch(holder.token) and 0 < holder.pid <= _LAST_PID and 0 <= holder.since <= _LAST_TIME
        if not sane:
            return cls(runtime, record, level, "", None, None)
        return cls(runtime, record, level, holder.token, holder, holder.alive)

    def status(self) -> LeaseStatus:
        if self.holder is None:
            return LeaseStatus("an operation whose record cannot be read", "somebody unknown", 0.0, None)
        return LeaseStatus(self.holder.what, self.who, self.holder.since, self.alive, self.holder.operation)

    @property
    def who(self) -> str:
        if self.holder is None:
            return "somebody unknown"
        address = self.holder.address
        return f"{self.holder.user}@{self.holder.host}{f' from {address}' if address else ''}"

    def __str__(self) -> str:
        if self.holder is None:
            return f"the record {self.record} of {self.runtime} does not say who"
        began = time.strftime("%H:%M", time.localtime(self.holder.since))
        return f"{self.who}, {self.holder.what}, since {began} ({duration(time.time() - self.holder.since)})"

    def refusal(self) -> Refused:
        if self.alive is None:
            return Refused(
                f"This machine's lease is held, and it cannot be told from here whether its holder lives: {self}.",
                f"When you are sure that nobody changes this machine any more, give it up with {self._by_hand}.",
            )
        if not self.alive:
            return Refused(
                f"The lease of a process that is gone could not be taken over: {self}.",
                f"Try again; if that does not help, give it up with {self._by_hand}.",
            )
        if self.level:
            return Refused(f"A dead process's lease is being taken over by {self}.", "Try again when that is done.")
        user, operation = (self.holder.user, self.holder.operation) if self.holder else ("", "")
        return Refused(
            f"This machine is being changed: {self}.",
            f"Wait until that is done, or let {user} cancel it where it was begun: `tritontui cancel {operation[:8]}`.",
        )

    @property
    def _by_hand(self) -> str:
        if self.runtime == "docker":
            return f"`docker volume rm {self.record}`"
        return f"`rm records/{self.record}.json` in tritontui's state folder"
