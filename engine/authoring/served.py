"""What a container serves: the server's own arguments, found in its command."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from engine.authoring.shell import commands
from engine.authoring.spec import ContainerSpec, as_written
from engine.errors import InvalidProfile
from engine.model_server import SHELLS, script, started
from engine.text import clean_line, mask_secrets

Server = Literal["vllm", "tritonserver"]
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Served:
    server: Server
    words: tuple[str, ...]
    """Its arguments"""
    notes: tuple[str, ...] = ()


def served(spec: ContainerSpec, settle: Callable[[str], str]) -> Served:
    """Raises `InvalidProfile` when it is neither vLLM's server nor Triton's."""
    words = [*(spec.entrypoint or ()), *spec.arguments]
    text = script(words)
    if text is not None:
        return _of_script(settle(text))
    found = _of_words(words)
    if found:
        return found
    image = PurePosixPath(spec.image.partition("@")[0]).name.partition(":")[0]
    shell = bool(words) and PurePosixPath(words[0]).name in SHELLS
    if "vllm" in image and not shell and spec.entrypoint is None:
        return Served("vllm", tuple(words[1:] if words[:1] == ["serve"] else words))
    if (other := started(words)) and other.server == "openai_frontend":
        raise InvalidProfile(
            "This runs Triton's OpenAI frontend, for which tritontui makes the model repository itself.",
            "Begin with `tritontui profiles new --stack triton-vllm`, and add `frontend: openai`.",
        )
    what = f"with the command `{_told(words)} …`" if words else "without a command"
    raise InvalidProfile(
        f"This runs neither vLLM's server nor tritonserver: {clean_line(spec.image)} {what}.",
        "Paste a line that ends with `tritonserver …`, or with the arguments of `vllm serve`.",
    )


def _of_script(text: str) -> Served:
    others: list[str] = []
    found: Served | None = None
    for command in commands(text, "/root", "."):
        one = _of_words(list(command.words))
        if one and found is None:
            found = one
        else:
            others.append(_told(command.words))
    if found is None:
        raise InvalidProfile(
            "The shell that this runs starts neither `vllm serve` nor tritonserver.",
            "Paste a line whose container is the server.",
        )
    notes = tuple(f"`{other} …` is left out: the container runs the server alone." for other in others)
    return Served(found.server, found.words, (*found.notes, *notes))


def _told(words: Sequence[str]) -> str:
    """Enough to know it again; what follows may hold a secret."""
    return clean_line(as_written(mask_secrets(" ".join(words[:2]))))[:_LONGEST]


def _of_words(words: Sequence[str]) -> Served | None:
    found = started(words)
    if found is None or found.server == "openai_frontend":
        return None
    ranks = ("`mpirun` is left out: one server is started.",) if "mpirun" in found.before else ()
    return Served(found.server, found.words, ranks)
