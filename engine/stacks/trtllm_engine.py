"""A prebuilt TensorRT-LLM engine: what its config.json says of it, read before anything is started."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidProfile
from engine.stacks.context import PlanContext
from engine.text import clean_line

if TYPE_CHECKING:
    from engine.stacks.versions import Versions

CONFIG = "config.json"
MAX_CONFIG_BYTES = 16 << 20
LARGEST_NUMBER = 1 << 31
"""Of any size in an engine; TensorRT-LLM keeps them in 32 bits"""
_VERSION = re.compile(r"\d+\.\d+(?:\.[0-9A-Za-z]+)*")


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """As `trtllm-build` wrote it. Limits are None where the file leaves them out."""

    version: str | None
    """TensorRT-LLM's, of the build"""
    tensor_parallel: int
    pipeline_parallel: int
    context_parallel: int
    max_batch_size: int
    max_beam_width: int
    max_input_len: int | None
    max_seq_len: int | None
    max_num_tokens: int | None
    paged_context_fmha: bool
    """Long prompts may be computed in pieces, between the tokens of other requests"""

    @property
    def world_size(self) -> int:
        """GPUs that it needs, each with a rank of its own."""
        return self.tensor_parallel * self.pipeline_parallel * self.context_parallel


def read_engine(folder: Path) -> BuiltEngine:
    """Raises `InvalidProfile` for what is no engine, or not a whole one."""
    path = folder / CONFIG
    data = _read(path)
    pretrained, build = _section(path, data, "pretrained_config"), _section(path, data, "build_config")
    mapping = _section(path, pretrained, "mapping")
    plugins = build.get("plugin_config")
    engine = BuiltEngine(
        version=_version(data.get("version")),
        tensor_parallel=_number(path, mapping, "tp_size") or 1,
        pipeline_parallel=_number(path, mapping, "pp_size") or 1,
        context_parallel=_number(path, mapping, "cp_size") or 1,
        max_batch_size=_number(path, build, "max_batch_size") or 1,
        max_beam_width=_number(path, build, "max_beam_width") or 1,
        max_input_len=_number(path, build, "max_input_len"),
        max_seq_len=_number(path, build, "max_seq_len"),
        max_num_tokens=_number(path, build, "max_num_tokens"),
        paged_context_fmha=isinstance(plugins, dict) and plugins.get("use_paged_context_fmha") is True,
    )
    stated = _number(path, mapping, "world_size") or engine.world_size
    if stated != engine.world_size:
        raise InvalidProfile(
            f"{path} contradicts itself: world_size is {stated}, and its parallel sizes make {engine.world_size}.",
            "Build the engine again.",
        )
    _check_ranks(folder, engine.world_size)
    return engine


def check_version(context: PlanContext, engine: BuiltEngine, image: "Versions") -> None:
    """Engines load only in the version that built them.

    Raises `InvalidProfile` when the image's differs; warns when it cannot be told.
    """
    from engine.stacks.versions import ordered, releases

    if engine.version is None:
        context.warnings.append(
            "The engine's config.json does not say which TensorRT-LLM built it: it loads only in that version."
        )
        return
    # What follows the third part (`post1`, a container's own number) rebuilds the same release.
    built, held = ordered(engine.version)[:3], ordered(image.tensorrt_llm or "")[:3]
    if not held or (image.at_least and built >= held):
        context.warnings.append(f"The engine loads only in TensorRT-LLM {engine.version}, which built it.")
    elif built != held:
        having = [row.triton for row in releases() if ordered(row.tensorrt_llm)[:3] == built]
        other = f"take Triton {' or '.join(having)}, which has {engine.version}" if having else "take another image"
        raise context.invalid(
            f"the engine was built by TensorRT-LLM {engine.version}, and the image has {image.tensorrt_llm}"
            f"{' or later' if image.at_least else ''}.",
            f"Build the engine again in this image, or {other}.",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        if not path.parent.is_dir():
            raise InvalidProfile(f"The engine {path.parent} is not a folder.", "Check `engines`.")
        if not path.is_file():
            raise InvalidProfile(
                f"{path.parent} holds no {CONFIG}.", "`engines` names the folder that trtllm-build wrote."
            )
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise InvalidProfile(f"{path} is larger than 16 MiB: no engine's config is.", "Check `engines`.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidProfile(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidProfile(f"{path} is not JSON: {clean_line(str(error))}.", "Copy the engine again.") from error
    if not isinstance(data, dict):
        raise InvalidProfile(f"{path} holds no engine's config: it is no JSON object.", "Check `engines`.")
    return data


def _section(path: Path, data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise InvalidProfile(
            f"{path} has no `{key}`, which every engine's config has.",
            "`engines` names the folder that trtllm-build wrote, not the checkpoint that it read.",
        )
    return value


def _number(path: Path, data: dict[str, Any], key: str) -> int | None:
    value = data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < LARGEST_NUMBER:
        shown = clean_line(json.dumps(value))
        raise InvalidProfile(f"In {path} `{key}` is {shown[:60]}: no whole number from 1.", "Build the engine again.")
    return value


def _version(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 40 and _VERSION.fullmatch(value) else None


def _check_ranks(folder: Path, world_size: int) -> None:
    try:
        there = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise InvalidProfile(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from error
    missing = [name for rank in range(min(world_size, 1024)) if (name := f"rank{rank}.engine") not in there]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InvalidProfile(
            f"{folder} lacks {shown}: its {CONFIG} speaks of {world_size} rank{'s'[: world_size > 1]}.",
            "Copy the whole engine.",
        )
