"""The stack `vllm`: vLLM's own OpenAI-compatible server, `vllm serve`."""

import os
import shutil

from engine.deployment import Protocol, Service
from engine.errors import InvalidProfile
from engine.plan import Plan
from engine.stacks.context import GIB, PlanContext, option_words
from engine.stacks.huggingface import HOME_OF_THE_CACHE, cache_mount, locate

PORTS = {"http": 8000}
MODEL_IN_CONTAINER = "/model"


def plan(context: PlanContext) -> Plan:
    """Raises `InvalidProfile` when there is no model, or on the process runtime no vllm program."""
    profile = context.profile
    context.refuse("server", "repository", "frontend", "engines", "tokenizer")
    if not profile.model:
        raise context.invalid("`model` is missing.", "Name a Hugging Face repository or a local folder.")
    model = locate(context, profile.model, "model", MODEL_IN_CONTAINER)
    served = profile.engine.get("served_model_name") or (profile.name if model.folder else profile.model)
    names = served if isinstance(served, list) else [served]

    ports = context.ports(PORTS)
    if not ports:
        raise context.invalid("`expose` leaves out http.", "vLLM serves everything there.")
    http = f"http://{context.host}:{ports[0].host_port}"
    service = Service(
        protocol=Protocol.OPENAI,
        http=http,
        health=f"{http}/health",
        metrics=f"{http}/metrics",
        model=str(names[0]),
        ready_timeout_s=profile.ready.timeout,
        ready_prompt=profile.ready.prompt,
    )
    options = _options({**profile.engine, "served_model_name": names})
    if context.on_docker:
        mounts = (cache_mount(), *model.mounts)
        command = (model.word, "--host", "0.0.0.0", "--port", str(PORTS["http"]), *options)  # noqa: S104 (in the container)
        launch = context.launch(
            command=command,
            # Images before 0.11 have another entrypoint, without the word `serve`.
            entrypoint=("vllm", "serve"),
            service=service,
            ports=ports,
            env=HOME_OF_THE_CACHE,
            mounts=mounts,
            default_shm=2 * GIB,
        )
        return context.plan(launch)
    command = (
        _program(context),
        "serve",
        model.word,
        "--host",
        profile.bind,
        "--port",
        str(ports[0].host_port),
        *options,
    )
    return context.plan(context.launch(command=command, service=service, ports=ports))


def _program(context: PlanContext) -> str:
    if context.profile.program:
        program = context.resolve(context.profile.program)
        if not os.access(program, os.X_OK):
            raise InvalidProfile(f"{context.path}: {program} is not a program.", "Check `program`.")
        return str(program)
    found = shutil.which("vllm")
    if not found:
        raise InvalidProfile(
            "No vllm program was found on this machine.", "Install vLLM, or give its path as `program:` in the profile."
        )
    return found


def _options(engine: dict[str, object]) -> list[str]:
    """`max_model_len: 8192` becomes `--max-model-len 8192`; booleans become `--x` or `--no-x`."""
    words: list[str] = []
    for key, value in engine.items():
        flag = key.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", *(option_words(key, item) for item in value)]
        else:
            words += [f"--{flag}", option_words(key, value)]
    return words
