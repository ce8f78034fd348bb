"""A download, seen from the files that it makes: a server's log says nothing while it fetches its model."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LEAST_GROWTH = 1 << 20
"""Bytes: configuration and tokenizer are there at once, and are not what is waited for"""
MAX_INDEX = 32 << 20
_BLOCK = 512
"""Bytes in which the kernel counts what a file takes on disk (stat(2), `st_blocks`)"""


@dataclass(frozen=True, slots=True)
class Files:
    """Of a model, at one moment; in bytes."""

    done: int
    total: int | None


def model_folder(runtime: str, env: Mapping[str, str], mounts: Mapping[str, str], model: str | None) -> Path | None:
    """Where a launch keeps the files of a Hugging Face repository, laid out as the hub's own library does.

    `mounts`: sources by what they are called in the container. None for what is no repository, or cannot be seen from
    here, such as a container engine's volume. It need not exist.
    """
    from engine.stacks.huggingface import CACHE_IN_CONTAINER, hub_cache

    if not model or model.startswith((".", "/", "~")) or "://" in model:
        return None
    if runtime == "docker":
        source = mounts.get(CACHE_IN_CONTAINER, "")
        if not source.startswith("/"):
            return None
        cache = Path(source) / "hub"
    elif named := env.get("HF_HUB_CACHE"):
        cache = Path(named)
    else:
        cache = Path(home) / "hub" if (home := env.get("HF_HOME")) else hub_cache()
    # A file or quantization may be named after the repository.
    return cache / f"models--{'--'.join(model.partition(':')[0].split('/')[:2])}"


def files_of(folder: Path) -> Files | None:
    """What is there of a model; None when it cannot be seen. Blocks shortly."""
    try:
        unfinished = [_size(entry.stat()) for entry in _entries(folder / "blobs") if entry.name.endswith(".incomplete")]
        snapshot = _snapshot(folder)
        finished = [_size(entry.stat()) for entry in _under(snapshot)] if snapshot else []
    except OSError:
        return None
    done = sum(unfinished) + sum(finished)
    total = _told(snapshot) if snapshot else None
    # Formats beside the one that the index is about may be fetched, too; then how much there is is not known.
    return Files(done, total if total and done <= total * 1.02 + LEAST_GROWTH else None)


class Download:
    """Of one model into one folder, from the moment on at which this is made. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun: int | None = None
        self._last = 0

    def look(self) -> Files | None:
        """What has come since, when something has, and enough to be worth telling."""
        files = files_of(self._folder)
        if files is None:
            return None
        if self._begun is None:
            self._begun = self._last = files.done
        grown = files.done > self._last and files.done - self._begun >= LEAST_GROWTH
        self._last = files.done
        return files if grown else None


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return


def _under(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _under(Path(entry.path))
        elif entry.is_file():
            yield entry


def _snapshot(folder: Path) -> Path | None:
    """The revision that is being fetched: its files are links that appear as each is complete."""
    found = max(_entries(folder / "snapshots"), key=lambda entry: entry.stat().st_mtime, default=None)
    return Path(found.path) if found else None


def _size(status: os.stat_result) -> int:
    """A file may have its full length before it has its bytes; a network file system may not say what it takes."""
    return min(status.st_size, status.st_blocks * _BLOCK) or status.st_size


def _told(snapshot: Path) -> int | None:
    """The size of all weights, as their index has it."""
    try:
        with (snapshot / "model.safetensors.index.json").open("rb") as file:
            total = json.loads(file.read(MAX_INDEX))["metadata"]["total_size"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return total if isinstance(total, int) and total > 0 else None
