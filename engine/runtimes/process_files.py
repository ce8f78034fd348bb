"""The files that are generated for a local deployment, in its state folder."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from engine.errors import Refused
from engine.plan import GeneratedFile


def write_files(folder: Path, files: Sequence[GeneratedFile]) -> None:
    """Makes the folder, for its owner alone. Raises `Refused` for a path that leads out of it, and OSError."""
    for file in files:
        path = folder / _inside(file.path)
        for missing in reversed([parent for parent in (path.parent, *path.parent.parents) if not parent.exists()]):
            missing.mkdir(mode=0o700)
        mode = 0o700 if file.executable else 0o600
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as open_file:
            open_file.write(file.text.encode())
            open_file.flush()
            os.fsync(descriptor)


def _inside(path: str) -> PurePosixPath:
    parts = path.split("/")
    if not set(parts).isdisjoint({"", ".", ".."}) or "\0" in path:
        raise Refused(f"The generated file {path!r} would not be in the deployment's own folder.")
    return PurePosixPath(path)
