"""Holders of the machine's lease: one that lives, and one that is dead."""

import time
from dataclasses import replace

from engine.lease import Holder
from engine.request import Origin


def holder(what: str = "start m", user: str = "bob", **changes: object) -> Holder:
    made = Holder.this_process(what, "op1", Origin(user, "gpu-box", 1, "10.0.0.7"))
    return replace(made, **changes)  # type: ignore[arg-type]


def dead(what: str = "swap a → b", user: str = "alice", token: str = "dead") -> Holder:
    """Its process id is another process's now."""
    return holder(what, user, started=1, token=token, since=time.time() - 725)
