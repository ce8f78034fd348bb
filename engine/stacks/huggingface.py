"""Where a model's files are: a folder on this machine, or a repository in the Hugging Face cache."""

import os
from dataclasses import dataclass
from pathlib import Path

from engine.catalog import resolved
from engine.plan import Mount
from engine.stacks.context import PlanContext

CACHE_IN_CONTAINER = "/var/cache/huggingface"
"""Told to the server as HF_HOME: where an image's user has its home differs"""
CACHE_VOLUME = "tritontui-huggingface"
HOME_OF_THE_CACHE = {"HF_HOME": CACHE_IN_CONTAINER}


@dataclass(frozen=True, slots=True)
class Located:
    """A model, adapter or tokenizer as the server is told of it."""

    word: str
    """Repository id, or a path as the server sees it"""
    folder: Path | None = None
    """On this machine, when it is a local one"""
    mounts: tuple[Mount, ...] = ()


def locate(context: PlanContext, reference: str, what: str, target: str) -> Located:
    """`target`: where a local folder is to appear in the container. Raises `InvalidProfile` when there is none."""
    if not reference.startswith((".", "/", "~")):
        return Located(reference)
    folder = context.resolve(reference)
    if not folder.is_dir():
        raise context.invalid(f"the {what} {folder} is not a folder.", "Check the path.")
    if not context.on_docker:
        return Located(str(folder), folder)
    return Located(target, folder, (Mount(str(folder), target),))


def cache_mount() -> Mount:
    """The machine's Hugging Face cache when there is one, so that weights are fetched once; otherwise a volume."""
    home = _home()
    return Mount(str(home) if home.is_dir() else CACHE_VOLUME, CACHE_IN_CONTAINER, read_only=False)


def hub_cache() -> Path:
    """The hub's cache on this machine, where the hub's own library would look; it need not exist."""
    if named := os.environ.get("HF_HUB_CACHE"):
        try:
            return resolved(Path(named))
        except OSError:
            pass  # as if it had not been named: what is not found there is fetched
    return _home() / "hub"


def _home() -> Path:
    try:
        return resolved(Path(os.environ.get("HF_HOME") or "~/.cache/huggingface"))
    except OSError:
        return Path(os.devnull)
