"""A model's files on this machine: its folder in the Hugging Face cache, its `config.json`, its weights' bytes."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.fit.values import LARGEST

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
MAX_CONFIG_BYTES = 8 << 20
MAX_INDEX_BYTES = 64 << 20
MAX_FILES = 20_000
_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_NO_WEIGHTS = ("training_args", "optimizer", "scheduler")
_REVISION = re.compile(r"[\w.-]{1,100}", re.ASCII)


class UnreadableError(Exception):
    """A file is there and cannot be used; the message says which and why."""


def snapshot(cache: Path, repository: str, revision: str = "main") -> Path | None:
    """The folder of a downloaded repository, as the hub's own library lays it out; None when there is none."""
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        return None
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshots = home / "snapshots"
    try:
        named = _first_words(home / "refs" / revision) if _REVISION.fullmatch(revision) else None
        for name in (named, revision):
            if name and _REVISION.fullmatch(name) and (snapshots / name / CONFIG).is_file():
                return snapshots / name
        found = [folder for folder in _entries(snapshots) if (folder / CONFIG).is_file()]
        return max(found, key=lambda folder: folder.stat().st_mtime, default=None)
    except OSError:
        return None


def read_config(folder: Path) -> dict[str, Any] | None:
    """Its `config.json`; None when there is none. Raises `UnreadableError`."""
    return _read_json(folder / CONFIG, MAX_CONFIG_BYTES)


def weights(folder: Path) -> tuple[int, str] | None:
    """Bytes of the weights as stored, and where that is from; None when there are none. Raises `UnreadableError`."""
    index = _read_json(folder / INDEX, MAX_INDEX_BYTES)
    if index is not None:
        metadata = index.get("metadata")
        size = metadata.get("total_size") if isinstance(metadata, dict) else None
        if isinstance(size, int | float) and not isinstance(size, bool) and 0 < size < LARGEST:
            return int(size), INDEX
    try:
        sizes = {path.name: path.stat().st_size for path in _entries(folder) if path.is_file()}
    except OSError as error:
        raise UnreadableError(f"{folder} cannot be read: {error.strerror or error}") from error
    for suffix in (".safetensors", ".bin", ".pt"):
        named = [name for name in sizes if name.endswith(suffix) and not name.startswith(_NO_WEIGHTS)]
        # Mistral's repositories hold the same weights twice.
        chosen = [name for name in named if not name.startswith("consolidated")] or named
        total = sum(sizes[name] for name in chosen)
        if total:
            return total, f"{len(chosen)} {suffix} file{'s' if len(chosen) > 1 else ''}"
    return None


def engine_weights(folder: Path) -> int | None:
    """Bytes of the largest rank of a prebuilt TensorRT-LLM engine: what one GPU loads. Raises `UnreadableError`."""
    ranks: dict[str, int] = {}
    try:
        for path in _entries(folder):
            match = re.match(r"(rank\d+)\.(engine|safetensors)$", path.name)
            if match:
                ranks[match[1]] = ranks.get(match[1], 0) + path.stat().st_size
    except OSError as error:
        raise UnreadableError(f"{folder} cannot be read: {error.strerror or error}") from error
    return max(ranks.values(), default=None)


def _entries(folder: Path) -> Iterable[Path]:
    for number, path in enumerate(folder.iterdir()):
        if number >= MAX_FILES:
            return
        yield path


def _first_words(path: Path) -> str | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(200).decode("ascii", errors="replace").strip()
    except OSError:
        return None


def _read_json(path: Path, most: int) -> dict[str, Any] | None:
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            text = file.read(most + 1)
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(text) > most:
        raise UnreadableError(f"{path} is larger than {most >> 20} MiB")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path} is no JSON") from error
    if not isinstance(data, dict):
        raise UnreadableError(f"{path} holds no object")
    return data
