"""The stack `vllm`: vLLM's own OpenAI-compatible server, `vllm serve`."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import InvalidProfile
from engine.plan import Mount, Plan
from engine.stacks.context import PlanContext
from engine.stacks.huggingface import HOME_OF_THE_CACHE, Located, adapters_of, cache_mount, model_of
from engine.stacks.parallel import check_parallel, shared_memory
from engine.stacks.versions import versions_of
from engine.stacks.vllm_options import check_server_options, server_knows, server_words

PORTS = {"http": 8000}
ACCESS_LOG = "disable_access_log_for_endpoints"
API_KEY = "VLLM_API_KEY"
DEVELOPER_MODE = "VLLM_SERVER_DEV_MODE"
"""Opens /sleep and /wake_up, and with them endpoints that call any method of the workers"""

_NOT_HERE = {
    "model": "The profile's own `model` says it.",
    "host": "The profile's own `bind` says it.",
    "port": "The profile's own `expose` says it.",
    "uds": "tritontui speaks to the server over HTTP: take it out.",
    "ssl_certfile": "tritontui speaks plain HTTP to the server: put a proxy before it instead.",
    "ssl_keyfile": "tritontui speaks plain HTTP to the server: put a proxy before it instead.",
    "grpc": "tritontui speaks to the server over HTTP: take it out.",
    "headless": "Without its HTTP server nothing tells when it is ready: take it out.",
    "config": "Write the options of that file here, so that they are checked.",
    "download_dir": "Weights are kept in the Hugging Face cache: set HF_HOME for tritontui to have it elsewhere.",
}


def plan(context: PlanContext) -> Plan:
    """Raises `InvalidProfile` when the profile cannot be served so, or on the process runtime there is no vllm."""
    from engine.stacks.memory import fitted

    profile = context.profile
    context.refuse("server", "repository", "frontend", "engines", "tokenizer")
    model = model_of(context)
    program = None if context.on_docker else _program(context)
    stated = _stated(context)
    names = _served_names(context, stated, model)
    modules, adapter_mounts = _adapters(context, stated, names)
    env = _environment(context, stated)

    versions = versions_of(context, program)
    check_server_options(context, stated, versions.vllm, at_least=versions.at_least)
    check_parallel(context, stated)
    if stated.get("trust_remote_code") is True:
        context.warnings.append(f"`trust_remote_code` runs the code that comes with {profile.model}.")
    options, fit = fitted(context, "vllm", stated, model=model, version=versions.vllm)

    ports, service = context.openai_endpoint(PORTS, "/health", names[0], api_key=_key_reference(context))
    words = server_words(
        {**options, **_quiet(stated, versions.vllm), "served_model_name": names, **modules}, versions.vllm
    )
    if program is None:
        launch = context.launch(
            command=(model.word, "--host", "0.0.0.0", "--port", str(PORTS["http"]), *words),  # noqa: S104 (in the container)
            # Images before 0.11 have another entrypoint, without the word `serve`.
            entrypoint=("vllm", "serve"),
            service=service,
            ports=ports,
            env={**HOME_OF_THE_CACHE, **env},
            mounts=(cache_mount(), *model.mounts, *adapter_mounts),
            default_shm=shared_memory(stated),
        )
    else:
        address = ("--host", profile.bind, "--port", str(ports[0].host_port))
        command = (str(program), "serve", model.word, *address, *words)
        launch = context.launch(command=command, service=service, ports=ports, env=env)
    return context.plan(launch, fit, versions.facts())


def _quiet(stated: Mapping[str, Any], version: str | None) -> dict[str, str]:
    """What only watches asks twice a second; the log is for what happens."""
    own = ACCESS_LOG in stated or "disable_uvicorn_access_log" in stated or "log_config_file" in stated
    return {} if own or not server_knows(ACCESS_LOG, version) else {ACCESS_LOG: "/health,/metrics"}


def _program(context: PlanContext) -> Path:
    if context.profile.program:
        program = context.resolve(context.profile.program)
        if not os.access(program, os.X_OK):
            raise InvalidProfile(f"{context.path}: {program} is not a program.", "Check `program`.")
        return program
    found = shutil.which("vllm")
    if not found:
        raise InvalidProfile(
            "No vllm program was found on this machine.", "Install vLLM, or give its path as `program:` in the profile."
        )
    return Path(found)


def _stated(context: PlanContext) -> dict[str, Any]:
    """The profile's options by their names with underscores, less what is said elsewhere."""
    options: dict[str, Any] = {}
    for key, value in context.profile.engine.items():
        name, dot, rest = key.partition(".")
        name = name.replace("-", "_") + dot + rest
        if name in options:
            raise context.invalid(f"`{name}` is given twice, with dashes and with underscores.", "Take one out.")
        if name in _NOT_HERE:
            raise context.invalid(f"`{key}` does not belong under `engine`.", _NOT_HERE[name])
        options[name] = value
    return options


def _served_names(context: PlanContext, stated: dict[str, Any], model: Located) -> list[str]:
    """The first is the one that prompts go to; taken out of the options."""
    profile = context.profile
    given = stated.pop("served_model_name", None)
    if given is not None and profile.served_model_name:
        raise context.invalid("`served_model_name` is given twice, also under `engine`.", "Take one out.")
    given = given or profile.served_model_name or (profile.name if model.folder else model.word)
    names = [name for name in (given if isinstance(given, list) else [given]) if isinstance(name, str) and name]
    if not names or (isinstance(given, list) and len(names) < len(given)):
        raise context.invalid("`served_model_name` is a name, or a list of names.", "Quote what looks like a number.")
    return names


def _adapters(
    context: PlanContext, stated: dict[str, Any], names: list[str]
) -> tuple[dict[str, Any], tuple[Mount, ...]]:
    """The option that names the adapters, and where local ones are mounted; `enable_lora` goes into the options."""
    lora = context.profile.lora
    if not lora:
        return {}, ()
    if stated.get("enable_lora") is False:
        raise context.invalid("`enable_lora: false` and `lora` exclude each other.", "Take one of them out.")
    if "lora_modules" in stated:
        raise context.invalid("Adapters are named under `lora` and as `lora_modules`.", "Keep those under `lora`.")
    if same := lora.keys() & set(names):
        raise context.invalid(f"The adapter {min(same)} has the name of the model.", "Give it another one.")
    if len(lora) > 1 and "max_loras" not in stated:
        context.warnings.append(
            f"One batch serves one adapter at a time: `max_loras: {len(lora)}` serves all of them together."
        )
    stated["enable_lora"] = True
    located = adapters_of(context)
    # With a comma in it, NAME=PATH is read as JSON.
    modules = [
        json.dumps({"name": name, "path": one.word}) if "," in one.word else f"{name}={one.word}"
        for name, one in located.items()
    ]
    return {"lora_modules": modules}, tuple(mount for one in located.values() for mount in one.mounts)


def _environment(context: PlanContext, stated: Mapping[str, Any]) -> dict[str, str]:
    """Of the server, beside the profile's. Raises `InvalidProfile` for a key by value and for open developer mode."""
    given = context.profile.env
    if API_KEY in given:
        raise context.invalid(
            f"`env` holds {API_KEY} itself, which would be stored with the deployment.",
            f"Write `secrets: {{{API_KEY}: env}}` instead.",
        )
    sleeps, mode = stated.get("enable_sleep_mode") is True, given.get(DEVELOPER_MODE)
    if sleeps and mode == "0":
        context.warnings.append(
            f"`{DEVELOPER_MODE}: 0` closes the endpoints that put it to sleep: `enable_sleep_mode` has no use."
        )
    if mode == "0" or not (sleeps or mode):
        return {}
    why = "`enable_sleep_mode`" if sleeps else f"`{DEVELOPER_MODE}`"
    if context.is_open:
        raise context.invalid(
            f"{why} lets whoever reaches {context.profile.bind} call any method of the server, also without its key.",
            "Bind to 127.0.0.1, or take the option out.",
        )
    context.warnings.append(f"{why} opens endpoints without a key that can call any method of the server.")
    return {DEVELOPER_MODE: "1"} if sleeps else {}


def _key_reference(context: PlanContext) -> str | None:
    """vLLM reads the key from the variable; whoever asks it reads it from where the variable comes from."""
    reference = context.profile.secrets.get(API_KEY)
    return f"env:{API_KEY}" if reference == "env" else reference
