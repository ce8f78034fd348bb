"""One change at a time to a deployment: a file lock that its holder's death releases."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import OperationFailed, Refused

GPUS_WAIT_S = 60.0
GPUS_POLL_S = 0.05
_GPUS = "_gpus"
"""No deployment can be named so"""


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Raises `Refused` when another operation is changing `name`, here or in another console."""
    with _locked(folder, name, 0.0, Refused(f"{name} is being changed right now.", "Wait until that is done.")):
        yield


@contextmanager
def placing(folder: Path) -> Iterator[None]:
    """From the choice of GPUs until they are taken, so that two starts at once do not choose the same ones.

    Waits for the other start. Raises `Refused` when that takes too long.
    """
    busy = Refused(
        f"Another deployment has been starting on GPUs for more than {GPUS_WAIT_S:g} s.",
        "Try again when it has started.",
    )
    with _locked(folder, _GPUS, GPUS_WAIT_S, busy):
        yield


@contextmanager
def _locked(folder: Path, name: str, wait_s: float, busy: Refused) -> Iterator[None]:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperationFailed(
            f"The state folder {folder} cannot be written: {error.strerror}.", "Make room, or mend its permissions."
        ) from error
    try:
        deadline = time.monotonic() + wait_s
        while not _try(handle, folder):
            if time.monotonic() >= deadline:
                raise busy
            time.sleep(GPUS_POLL_S)
        yield
    finally:
        os.close(handle)


def _try(handle: int, folder: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise OperationFailed(
            f"The state folder {folder} takes no locks: {error.strerror}.",
            "Choose another with TRITONTUI_STATE_DIR, on a local disk.",
        ) from error
    return True
