"""Records that are kept with the process runtime: files in the state folder, for who uses the same one."""

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.errors import OperationFailed, RuntimeUnreachable
from engine.whole_file import UNFINISHED, written_beside

FOLDER = "records"
_LEFT_OVER_S = 60.0
"""An unfinished file that is older was left by a process that was killed while it wrote"""
_MOST_BYTES = 1 << 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def keep(state_dir: Path, name: str, facts: Mapping[str, str]) -> Mapping[str, str]:
    path = _path(state_dir, name)
    while (found := read(state_dir, name)) is None:
        with _writing(path.parent):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sweep(path.parent)
            # The name decides who was first.
            with written_beside(path, json.dumps(dict(facts))) as new, contextlib.suppress(FileExistsError):
                path.hardlink_to(new)
    return found


def read(state_dir: Path, name: str) -> Mapping[str, str] | None:
    """A file that says nothing readable gives an empty record."""
    path = _path(state_dir, name)
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_MOST_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RuntimeUnreachable(
            f"The record {path} cannot be read: {error.strerror}.", "Correct its owner or permissions."
        ) from error
    except (ValueError, RecursionError):
        return {}
    return {key: str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def drop(state_dir: Path, name: str) -> None:
    path = _path(state_dir, name)
    with _writing(path.parent), contextlib.suppress(FileNotFoundError):
        path.unlink()


def _path(state_dir: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise OperationFailed(f"No record can be named {name!r}.")
    return state_dir / FOLDER / f"{name}.json"


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LEFT_OVER_S:
                left.unlink()


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OperationFailed(
            f"The folder {folder} cannot be written: {error.strerror}.",
            "Correct its owner, permissions or free space, or set TRITONTUI_STATE_DIR to a folder on a local disk.",
        ) from error
