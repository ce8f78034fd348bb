"""A container with vLLM's server as a profile of the stack `vllm`."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from engine.authoring.imported import Taking
from engine.authoring.vllm_words import SECRETS, read_words
from engine.stacks.huggingface import cache_mount

PORT = 8000
_CACHE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
_CACHE = re.compile(r".*/\.cache/huggingface(?:/hub)?")
_SNAPSHOT = re.compile(r".*/models--([^/]+?)--([^/]+)/snapshots/([^/]+)/?")
_ELSEWHERE = {
    "host": "",
    "uds": "tritontui speaks to the server over HTTP",
    "grpc": "tritontui speaks to the server over HTTP",
    "headless": "tritontui asks the server itself when it is ready",
    "ssl_certfile": "tritontui speaks plain HTTP to the server",
    "ssl_keyfile": "tritontui speaks plain HTTP to the server",
    "config": "write the options of that file under `engine`",
    "download_dir": "weights are kept in the Hugging Face cache",
}
"""Options that a profile does not have, and why; nothing is to be said of the first, as `bind` is"""


def take_vllm(taking: Taking, words: Sequence[str]) -> None:
    """`words`: what follows `vllm serve`."""
    found = read_words(words, taking.settled)
    taking.notes += found.notes
    options = found.options
    data = taking.data
    data["stack"] = "vllm"
    _secrets(taking, options)
    taking.leave_out_secrets(options)
    _cache(taking)
    port = options.pop("port", PORT)
    for key, why in _ELSEWHERE.items():
        value = options.pop(key, None)
        if value is not None and why:
            taking.notes.append(f"`--{key.replace('_', '-')}` is left out: {why}.")
        if key == "download_dir" and isinstance(value, str):
            taking.take_mounts([value])
    _adapters(taking, options, words)
    _model(taking, found.model, options, words)
    if options:
        data["engine"] = options
    taking.expose({"http": port if isinstance(port, int) else PORT})
    if "gpus" not in data:
        taking.notes.append("The line gives it no GPU: set `gpus`, unless the image's vLLM is one for the CPU.")


def _secrets(taking: Taking, options: dict[str, Any]) -> None:
    for key, variable in SECRETS.items():
        value = options.pop(key, None)
        if isinstance(value, list) and value:
            taking.notes.append(f"Of several values of `--{key.replace('_', '-')}` one is carried, as {variable}.")
            value = value[0]
        if isinstance(value, str):
            taking.variable(variable, value)


def _cache(taking: Taking) -> None:
    """The stack mounts the Hugging Face cache itself, and tells the server of it."""
    stated = {name: taking.env[name] for name in _CACHE_VARIABLES if name in taking.env}
    targets = [mount.target for mount in taking.mounts]
    places = [target for target in targets if _CACHE.fullmatch(target) or target in stated.values()]
    own = cache_mount().source
    for mount in taking.take_mounts(places):
        is_there = not mount.source.startswith("/") or Path(mount.source).is_dir()
        if is_there and mount.source not in (own, f"{own}/hub"):
            taking.notes.append(
                f"The Hugging Face cache {mount.source} is left out: {own} is mounted. Set HF_HOME where tritontui runs"
                " to have another."
            )
    for name, value in stated.items():
        if any(PurePosixPath(value).is_relative_to(place) for place in places):
            del taking.env[name]


def _model(taking: Taking, model: str, options: dict[str, Any], words: Sequence[str]) -> None:
    data = taking.data
    snapshot = _SNAPSHOT.fullmatch(model)
    names = options.get("served_model_name")
    if not model:
        taking.notes.append("The line names no model: write `model`.")
    elif snapshot:
        data["model"] = f"{snapshot[1]}/{snapshot[2]}"
        options.setdefault("revision", snapshot[3])
    elif model.startswith(("/", ".")):
        data["model"] = _local(taking, model, "model", words)
        if names is None:
            taking.notes.append(f"Clients ask for the model by the profile's name now, and not as {model}.")
    else:
        data["model"] = model
    if isinstance(names, str):
        options.pop("served_model_name")
        if names != data.get("model"):
            data["served_model_name"] = names


def _adapters(taking: Taking, options: dict[str, Any], words: Sequence[str]) -> None:
    modules = options.pop("lora_modules", None)
    if not isinstance(modules, list):
        return
    lora: dict[str, str] = {}
    for module in modules:
        name, path = _adapter(module)
        if not name or not path:
            taking.notes.append("An adapter of `--lora-modules` is left out: it has no name or no path.")
            continue
        lora[name] = _local(taking, path, f"adapter {name}", words) if path.startswith(("/", ".")) else path
    if lora:
        taking.data["lora"] = lora
        if options.get("enable_lora") is True:
            del options["enable_lora"]


def _adapter(module: object) -> tuple[str, str]:
    """NAME=PATH, or an object with both."""
    if isinstance(module, Mapping):
        return str(module.get("name", "")), str(module.get("path", ""))
    name, _, path = str(module).partition("=")
    return name, path


def _local(taking: Taking, path: str, what: str, words: Sequence[str]) -> str:
    here = taking.on_machine(path)
    if here is None:
        taking.notes.append(f"The {what} {path} is a folder of the container, and nothing of this machine: correct it.")
        return path
    taking.use_up(path, words)
    return here
