"""A new profile from a few answers, with what is usual for its stack and a word on each key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.authoring.write import profile_text
from engine.catalog import resolved
from engine.errors import InvalidProfile

TRITON = "nvcr.io/nvidia/tritonserver:25.12"
IMAGES = {
    "triton-vllm": f"{TRITON}-vllm-python-py3",
    "triton-trtllm": f"{TRITON}-trtllm-python-py3",
    "vllm": "vllm/vllm-openai:v0.24.0",
    "triton": f"{TRITON}-py3",
}
"""Of each stack a release whose options are known, and what is taken when nothing else is asked for"""
STACKS = {
    "triton-vllm": "Triton with vLLM inside; the model repository is made from the profile",
    "triton-trtllm": "Triton with TensorRT-LLM inside",
    "vllm": "vLLM's own OpenAI-compatible server, without Triton",
    "triton": "Triton on a model repository that you have",
}
NEEDS_REPOSITORY = ("triton",)

Gpus = int | str | list[int | str]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. Folders are relative to `working_dir`."""

    name: str
    stack: str
    working_dir: Path
    model: str | None = None
    repository: str | None = None
    image: str | None = None
    gpus: Gpus | None = None
    """None: one, and for a model repository none"""
    runtime: str = "docker"


def suggested_name(model: str) -> str:
    """From the last part of a repository id or folder; empty when nothing of it can be a name."""
    last = model.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9.-]+", "-", last).strip("-.")[:63]


def parse_gpus(text: str) -> Gpus:
    """A count, all, or indices and UUIDs with commas between. Raises `InvalidProfile`."""
    text = text.strip()
    if text.isdecimal():
        return int(text)
    if text == "all":
        return text
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d+|(?:GPU|MIG)-[\w/-]+", part) for part in parts if part) or not any(parts):
        raise InvalidProfile(f"{text} names no GPUs.", "Give a count, all, or indices or UUIDs with commas: 0,1.")
    return [int(part) if part.isdecimal() else part for part in parts if part]


def new_profile(wish: Wish, *, schema: bool = True) -> str:
    """The file's text; `schema`: with the line for editors. Raises `InvalidProfile` for a path that is none."""
    gpus = wish.gpus if wish.gpus is not None else (0 if wish.stack in NEEDS_REPOSITORY else 1)
    data: dict[str, Any] = {"name": wish.name, "summary": _summary(wish, gpus), "stack": wish.stack}
    if wish.runtime != "docker":
        data["runtime"] = wish.runtime
    if wish.image or wish.runtime == "docker":
        data["image"] = wish.image or IMAGES[wish.stack]
    if wish.model:
        data["model"] = wish.model if wish.stack in NEEDS_REPOSITORY else _reference(wish, wish.model)
    if wish.repository:
        data["repository"] = _folder(wish, wish.repository)
    if gpus:
        data["gpus"] = gpus
    if engine := _engine(wish.stack, _count(gpus)):
        data["engine"] = engine
    data["expose"] = {"http": "auto"} if wish.stack == "vllm" else dict.fromkeys(("http", "grpc", "metrics"), "auto")
    data["ready"] = {"timeout": "30m"}
    if wish.model:
        data["ready"]["prompt"] = "ping"
    tail = () if wish.stack in NEEDS_REPOSITORY else _TAIL
    return profile_text(data, head=[_HEAD], comments=_comments(wish, data), tail=tail, schema=schema)


_HEAD = "What `tritontui plan` and `tritontui up` read. `tritontui profiles check` says whether it is right."
_TAIL = (
    "A gated model needs a token. Only where it comes from stands here; export HF_TOKEN where tritontui runs:",
    "secrets: {HF_TOKEN: env}",
)


def _comments(wish: Wish, data: Mapping[str, Any]) -> dict[str, str]:
    server = {
        "vllm": "vLLM's own options by their names with underscores: max_model_len for --max-model-len.",
        "triton-vllm": "vLLM's own options, as its engine takes them; they are checked for the image's version.",
        "triton-trtllm": "Options of TensorRT-LLM's LLM API by their own names.",
    }.get(wish.stack, "")
    model = {
        "triton": "The model that prompts go to.",
    }.get(wish.stack, "A Hugging Face repository, or a folder: one begins with /, ./ or ~/.")
    comments = {
        "stack": f"How it is served: {STACKS[wish.stack]}.",
        "image": "Its version decides which options there are.",
        "model": model,
        "repository": "The folder that holds a folder for each model.",
        "gpus": "A count, all, or a list of indices or UUIDs.",
        "engine": server,
        "expose": "Ports on 127.0.0.1. auto takes the usual one, or the next that is free.",
        "ready": "A start has failed when this takes longer."
        + (" The prompt must be answered before it counts as done." if "prompt" in data["ready"] else ""),
    }
    return {key: text for key, text in comments.items() if key in data}


def _engine(stack: str, gpus: int | None) -> dict[str, Any]:
    """`gpus`: None when their number is not known."""
    parallel = {"tensor_parallel_size": gpus} if gpus else {}
    match stack:
        case "triton-trtllm":
            return {**parallel, "max_seq_len": 8192, "kv_cache_config": {"free_gpu_memory_fraction": 0.85}}
        case "vllm" | "triton-vllm":
            return {**parallel, "gpu_memory_utilization": 0.85, "max_model_len": 8192}
    return {}


def _summary(wish: Wish, gpus: Gpus) -> str:
    count = _count(gpus)
    where = "all GPUs" if count is None else "no GPU" if not count else f"{count} GPU{'s' if count > 1 else ''}"
    what = wish.repository if wish.stack in NEEDS_REPOSITORY else wish.model
    return f"{what or wish.name} on {where}"


def _count(gpus: Gpus) -> int | None:
    return gpus if isinstance(gpus, int) else len(gpus) if isinstance(gpus, list) else None


def _reference(wish: Wish, model: str) -> str:
    return _folder(wish, model) if model.startswith(".") else model


def _folder(wish: Wish, folder: str) -> str:
    """Absolute: the profile lies elsewhere."""
    if folder.startswith("~"):
        return folder
    try:
        return str(resolved(wish.working_dir / folder))
    except OSError as error:
        raise InvalidProfile(f"{folder} is no path: {error}.", "Correct it.") from error
