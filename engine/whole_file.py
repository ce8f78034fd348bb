"""Files that get their name only when they are whole, so that nobody ever reads half of one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".new-"
"""How the names of such files begin; one that stays was left by a process that was killed"""


@contextmanager
def written_beside(path: Path, text: str) -> Iterator[Path]:
    """A new file with all of the text (UTF-8) in the folder of `path`, on disk, and for its owner alone.

    It is there to be given the name: with `replace` over what has it, with `hardlink_to` only where nothing has. Under
    the name that it was written under, nothing is left at the end. Raises OSError.
    """
    # A name that nobody can foretell: no link waits there, and no other writer.
    descriptor, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
    new = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            # Or its name could outlive a loss of power that its content does not.
            os.fsync(descriptor)
        yield new
    finally:
        new.unlink(missing_ok=True)
