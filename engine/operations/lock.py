"""One change at a time to a deployment: a file lock that its holder's death releases."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.errors import OperationFailed, Refused


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Raises `Refused` when another operation is changing `name`, here or in another console."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OperationFailed(
            f"The state folder {folder} cannot be written: {error.strerror}.", "Make room, or mend its permissions."
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"{name} is being changed right now.", "Wait until that is done.") from error
        except OSError as error:
            raise OperationFailed(
                f"The state folder {folder} takes no locks: {error.strerror}.",
                "Choose another with TRITONTUI_STATE_DIR, on a local disk.",
            ) from error
        yield
    finally:
        os.close(handle)
