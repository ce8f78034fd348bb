"""A container with tritonserver as a profile of the stack `triton`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.authoring.imported import Taking
from engine.authoring.vllm_words import parsed
from engine.errors import InvalidProfile
from engine.stacks.context import FILES_IN_CONTAINER
from engine.stacks.model_repository import read_repository
from engine.stacks.tritonserver import OWN_KEYS, PORTS
from engine.text import clean_line

_ALONE = ("disable_auto_complete_config", "help", "version")
"""Options of tritonserver that take no value"""
_RESTRICTED = ("http_restricted_api", "grpc_restricted_protocol")
"""`PROTOCOLS:HEADER=VALUE`, where only who knows the value is let in"""
_REPOSITORY = ("model_repository", "model_store")


def take_triton(taking: Taking, words: Sequence[str]) -> None:
    """`words`: what follows `tritonserver`."""
    data = taking.data
    data["stack"] = "triton"
    options, repositories = _options(taking, words)
    for key in _RESTRICTED:
        if options.pop(key, None) is not None:
            taking.notes.append(f"`--{key.replace('_', '-')}` is left out: the value in it is a secret.")
    taking.leave_out_secrets(options)
    _repository(taking, repositories, words)
    ports = {
        purpose: options.get(f"{purpose}_port", port)
        for purpose, port in PORTS.items()
        if options.get(f"allow_{purpose}", True) is not False or purpose == "http"
    }
    if options.get("allow_http") is False:
        taking.notes.append("`--allow-http=false` is left out: tritontui asks over HTTP whether the server is ready.")
    left = {key: value for key, value in options.items() if key not in OWN_KEYS and key not in _REPOSITORY}
    if left:
        data["engine"] = left
    taking.expose({purpose: port for purpose, port in ports.items() if isinstance(port, int)})


def _options(taking: Taking, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """By their names with underscores; one that is repeated is a list. And the model repositories."""
    options: dict[str, Any] = {}
    repositories: list[str] = []
    rest = list(words)
    while rest:
        word = taking.settled(rest.pop(0))
        if not word.startswith("--"):
            taking.notes.append(f"`{clean_line(word)}` is left out: it is no option of tritonserver.")
            continue
        flag, equals, text = word.partition("=")
        key = flag[2:].replace("-", "_")
        value: Any = True
        if equals:
            value = parsed(key, text)
        elif key not in _ALONE and rest and not rest[0].startswith("--"):
            value = parsed(key, taking.settled(rest.pop(0)))
        if key in _REPOSITORY:
            repositories.append(str(value))
        elif key in options:
            before = options[key]
            options[key] = [*(before if isinstance(before, list) else [before]), value]
        else:
            options[key] = value
    return options, repositories


def _repository(taking: Taking, repositories: list[str], words: Sequence[str]) -> None:
    if not repositories:
        taking.notes.append("The line names no model repository: write `repository`.")
        return
    first = repositories[0]
    if len(repositories) > 1:
        taking.notes.append(f"Of {len(repositories)} model repositories only {first} is carried: put them together.")
    folder = taking.on_machine(first)
    if folder is None and first.startswith(f"{FILES_IN_CONTAINER}/"):
        taking.notes.append("tritontui wrote this model repository itself, from a profile: copy that profile instead.")
        return
    if folder is None:
        taking.notes.append(f"The model repository {first} is no folder of this machine: write `repository`.")
        return
    taking.data["repository"] = folder
    taking.use_up(first, words)
    try:
        models = read_repository(Path(folder)) if Path(folder).is_dir() else {}
    except InvalidProfile:
        return  # its plan says so
    if len(models) == 1:
        (model,) = models.values()
        taking.data["model"] = model.name
        if model.backend == "vllm":
            taking.notes.append(
                f"The repository's only model, {model.name}, is one of the vLLM backend: it is served as it is. The"
                " stack triton-vllm would make such a repository from the profile, and check its options."
            )
