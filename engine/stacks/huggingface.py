"""Where the files of a model, tokenizer or adapter are: a folder of this machine, or in the Hugging Face cache."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from engine.catalog import resolved
from engine.plan import Mount
from engine.stacks.context import PlanContext
from engine.stacks.mounts import warn_of_links

CACHE_IN_CONTAINER = "/var/cache/huggingface"
"""Told to the server as HF_HOME: where an image's user has its home differs"""
CACHE_VOLUME = "tritontui-huggingface"
HOME_OF_THE_CACHE = {"HF_HOME": CACHE_IN_CONTAINER}
_REPOSITORY = re.compile(r"\w[\w.-]*(/[\w.-]+){0,2}(:[\w.-]+)?|(?!https?:)[a-z][a-z0-9]*://\S+", re.ASCII)
"""OWNER/NAME, what vLLM takes beside it (a file in it, a quantization, other stores), and nothing like an option"""
_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+).*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Located:
    """A model, adapter or tokenizer as the server is told of it."""

    word: str
    """Repository id, or a path as the server sees it"""
    folder: Path | None = None
    """On this machine, when it is a local one"""
    mounts: tuple[Mount, ...] = ()


def locate(context: PlanContext, reference: str, what: str, target: str) -> Located:
    """`target`: where a local folder is to appear in the container.

    Raises `InvalidProfile` when there is none, and for what cannot be a repository's name.
    """
    if not reference.startswith((".", "/", "~")):
        _check_repository(context, reference, what)
        return Located(reference)
    folder = context.resolve(reference)
    if not folder.is_dir():
        raise context.invalid(f"the {what} {folder} is not a folder.", "Check the path.")
    if not context.on_docker:
        return Located(str(folder), folder)
    if folder.parent.name == "snapshots" and (folder.parents[1] / "blobs").is_dir():
        # The hub's own cache, where the files of a snapshot are links to blobs beside it.
        return Located(f"{target}/snapshots/{folder.name}", folder, (Mount(str(folder.parents[1]), target),))
    warn_of_links(context, folder)
    return Located(target, folder, (Mount(str(folder), target),))


def _check_repository(context: PlanContext, reference: str, what: str) -> None:
    if not _REPOSITORY.fullmatch(reference):
        page = _PAGE.fullmatch(reference)
        raise context.invalid(
            f"the {what} `{reference}` is neither a Hugging Face repository (owner/name) nor a folder.",
            f"Write `{page[1]}`." if page else "Begin a folder with ./, / or ~/.",
        )
    if (context.path.parent / reference).is_dir():
        context.warnings.append(
            f"The {what} {reference} is taken for a Hugging Face repository; write ./{reference} for the folder."
        )


def model_of(context: PlanContext) -> Located:
    """The profile's model. As `locate`; also raises `InvalidProfile` when it names none."""
    if not context.profile.model:
        raise context.invalid("`model` is missing.", "Name a Hugging Face repository or a local folder.")
    return locate(context, context.profile.model, "model", "/model")


def tokenizer_of(context: PlanContext) -> Located | None:
    """The profile's own tokenizer, when it names one beside its model's. As `locate`."""
    tokenizer = context.profile.tokenizer
    return locate(context, tokenizer, "tokenizer", "/tokenizer") if tokenizer else None


def adapters_of(context: PlanContext) -> dict[str, Located]:
    """The profile's LoRA adapters by the names that clients use. As `locate`."""
    return {
        name: locate(context, reference, f"adapter {name}", f"/lora/{name}")
        for name, reference in context.profile.lora.items()
    }


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
