"""What every runtime does. The rest of the engine cannot tell runtimes apart.

All calls block and are made off the event loop. All raise `RuntimeUnreachable` when the runtime does not answer
within its deadline, `NotFound` for a deployment that does not exist, and `OperationFailed` with the runtime's own
word when it refuses. A constructor neither connects nor raises.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from engine.deployment import Deployment
from engine.plan import Launch
from engine.startup import PhaseProgress


class LogSource(Protocol):
    """An open log. Iterate it in one thread; `close` from any thread ends the iteration promptly, without an error."""

    secrets: Sequence[str]
    """Values that the program was given and that nobody is to read in its log"""

    def __iter__(self) -> Iterator[bytes]:
        r"""Blocks of raw bytes as they arrive, not cut at lines.

        Each line begins with its time as RFC 3339 with nine decimals and `Z` (30 bytes), and one more byte that tells
        where it comes from (`engine.runtimes.log_writer`): `>` standard output, `!` standard error, a space where that
        is not known; `}`, `|` and `@` are the same of the first line of a run; `#` is before a word of ours on lines
        that are missing. A line that ends in `\x18` does not count: its text comes again in a later one, because the
        other stream came in between. The end of the iteration is the end of the log (not followed, or the deployment is
        gone). Raises `RuntimeUnreachable` when the stream breaks.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class Runtime(Protocol):
    name: str

    def check(self) -> str:
        """One line on the runtime's version, e.g. `Docker 28.2.2`. Raises `RuntimeUnreachable`."""
        ...

    def deployments(self) -> tuple[Deployment, ...]:
        """Every deployment that is ours, ended ones included, read from the runtime itself."""
        ...

    def create(self, launch: Launch) -> None:
        """Makes it ready to start, with its generated files in place. Raises `Refused` when the name is taken."""
        ...

    def set_aside(self, name: str) -> None:
        """Makes room for another of its name, which then `replaces` this ended one.

        While there is no other it goes on being the deployment of that name: it can be started, and removed. Set aside
        already is no error. Raises `Refused` while it runs.
        """
        ...

    def bring_back(self, name: str) -> None:
        """Undoes `set_aside`, as a start of it does. No error when there is none, or another has its place."""
        ...

    def drop_aside(self, name: str) -> None:
        """Forgets what is set aside, with its log, now that another has its place. No error when that is not so."""
        ...

    def missing(self, launch: Launch) -> str:
        """What it would take to create it that is not to be had, such as its name, and what to do.

        Empty when nothing; an image that is not here can be fetched.
        """
        ...

    def pull(self, image: str, told: Callable[[PhaseProgress], None], cancelled: threading.Event) -> bool:
        """Fetches it from its registry; False when `cancelled` was set before it was here.

        Raises `OperationFailed` with the registry's word and what to do.
        """
        ...

    def image_env(self, image: str) -> Mapping[str, str]:
        """The variables that the image sets; nothing when it is not here, or the runtime has no images."""
        ...

    def image_id(self, image: str) -> str:
        """Digest of what the reference means now; empty when it is not here, or the runtime has no images."""
        ...

    def foreign(self) -> tuple[Deployment, ...]:
        """Model servers that somebody started by hand, running ones only: to be watched, and not to be changed.

        Their names are `docker/` and the container's own name, which no profile can have; `logs` takes them too.
        """
        ...

    def claim(self, id: str, launch: Launch, *, this_run_only: bool) -> None:  # noqa: A002 (what it is called everywhere)
        """From now on what has this id is the deployment `launch.name`, kept with the runtime itself.

        For an adopted container, and for a server that now serves another profile's model: then only while its
        present run lasts. Raises `Refused` when there is another deployment of that name.
        """
        ...

    def unclaim(self, name: str) -> None:
        """Undoes `claim`. None of that name is no error."""
        ...

    def keep_record(self, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
        """Makes a record, visible to all who use this runtime, unless there is one of that name.

        Returns the facts of the one that there is now, so that of several at once exactly one finds its own.
        """
        ...

    def record(self, name: str) -> Mapping[str, str] | None: ...

    def drop_record(self, name: str) -> None:
        """None of that name is no error."""
        ...

    def gpus(self, name: str) -> tuple[str, ...] | None:
        """UUIDs of the GPUs that the running deployment really sees; None when it cannot be told."""
        ...

    def stranger(self, name: str) -> str:
        """What listens where this one, which runs, is to answer, and is no part of it.

        E.g. `port 8000 is used by python3 (pid 77)`; empty when nothing does, or that cannot be told.
        """
        ...

    def start(self, name: str) -> None:
        """Starts what was created or has ended. One that runs is left as it is."""
        ...

    def stop(self, name: str, timeout_s: float) -> None:
        """Asks it to end, kills it after `timeout_s`, and returns when it has ended. Ended already is no error."""
        ...

    def remove(self, name: str) -> None:
        """Forgets an ended deployment with its log. Raises `Refused` while it runs."""
        ...

    def logs(self, name: str, *, tail: int | None, follow: bool, since: float | None = None) -> LogSource:
        """History (the last `tail` lines, or all; only lines after `since`, epoch seconds), then what follows.

        Following what was created and has not begun waits for its start.
        """
        ...

    def watch(self, changed: Callable[[], None], closing: threading.Event) -> None:
        """Calls `changed` soon after any of ours changes, until `closing` is set or the runtime goes away.

        Raises `RuntimeUnreachable` when it goes away. It is a hint: callers poll as well, slowly.
        """
        ...
