"""Triton's OpenAI-compatible frontend: a Python program that runs Triton's core within itself, behind one port."""

import difflib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.plan import GeneratedFile, Launch, Mount
from engine.stacks.context import PlanContext
from engine.stacks.tritonserver import ULIMITS, option_line, refuse_open_control

PROGRAM = "/opt/tritonserver/python/openai/openai_frontend/main.py"
PORTS = {"http": 9000}
FIRST_RELEASE = "25.01"
"""Earlier images lack the program, or (24.12) what it needs, by their own README"""
FLAGS = {
    "backend": FIRST_RELEASE,
    "tritonserver_log_verbose_level": FIRST_RELEASE,
    "uvicorn_log_level": FIRST_RELEASE,
    "lora_separator": "25.05",
    "tool_call_parser": "25.05",
    "chat_template": "25.05",
    "default_max_tokens": "25.08",
    "model_control_mode": "26.04",
    "load_model": "26.04",
    "http_max_input_size": "26.06",
    "max_tool_call_parse_bytes": "26.07",
}
"""Flag -> the release that has it first: main.py's arguments at the tags from 2.54 (25.01) to 2.71 (26.07)"""
NOT_OURS = {
    "model_repository": "tritontui writes the repository",
    "tokenizer": "the profile's own key `tokenizer` says it",
    "host": "the profile's own key `bind` says it",
    "openai_port": "the profile's own key `expose` says it",
    "enable_kserve_frontends": "leave out `frontend` to have Triton's own protocols",
    "kserve_http_port": "leave out `frontend` to have Triton's own protocols",
    "kserve_grpc_port": "leave out `frontend` to have Triton's own protocols",
    "openai_restricted_api": "its key would stand on the command line for all to read; put a proxy in front",
}


def named(context: PlanContext, release: str | None) -> dict[str, Any]:
    """The profile's `server` as flags by their names with underscores.

    Raises `InvalidProfile` for what the frontend of that release does not know, and for a release without one.
    """
    if release and release < FIRST_RELEASE:  # YY.MM
        raise context.invalid(
            f"Triton {release} has no OpenAI frontend: it is in the images since {FIRST_RELEASE}.",
            "Use a later image, or leave `frontend` out.",
        )
    flags = {key.replace("-", "_"): value for key, value in context.profile.server.items()}
    for flag in flags:
        if flag in NOT_OURS:
            raise context.invalid(f"`{flag}` is no option to give: {NOT_OURS[flag]}.", "Take it out.")
        if flag not in FLAGS:
            near = difflib.get_close_matches(flag, FLAGS, n=1)
            raise context.invalid(
                f"`{flag}` is no option of Triton's OpenAI frontend.",
                f"Did you mean `{near[0]}`?" if near else f"It has {', '.join(FLAGS)}.",
            )
        if release and release < FLAGS[flag]:
            raise context.invalid(
                f"The OpenAI frontend of Triton {release} does not know `{flag}`: it exists since {FLAGS[flag]}.",
                "Take it out, or use a later image.",
            )
    return flags


def launch(
    context: PlanContext,
    *,
    repository: str,
    model: str,
    options: Mapping[str, Any],
    mounts: tuple[Mount, ...],
    files: tuple[GeneratedFile, ...],
    env: Mapping[str, str] | None,
    default_shm: int,
) -> Launch:
    """As `tritonserver.launch`; chats also need the option `tokenizer`. Raises `InvalidProfile` without a frontend."""
    refuse_open_control(context, options)
    # Its metrics are what tritonserver would have on 8002, which it does not open.
    ports, service = context.openai_endpoint(PORTS, "/health/ready", model)
    python, program, host = _where(context)
    command = (
        *(python, program),
        f"--model-repository={repository}",
        f"--host={host}",
        f"--openai-port={ports[0].container_port}",
        *option_line(options),
    )
    return context.launch(
        command=command,
        service=service,
        ports=ports,
        env=env,
        mounts=mounts,
        files=files,
        default_shm=default_shm,
        ulimits=ULIMITS,
    )


def _where(context: PlanContext) -> tuple[str, str, str]:
    """Interpreter, program, and the address to bind to."""
    if context.on_docker:
        return "python3", PROGRAM, "0.0.0.0"  # noqa: S104 (in the container)
    python = shutil.which("python3")
    if not python or not Path(PROGRAM).is_file():
        raise context.invalid(
            f"Triton's OpenAI frontend is not on this machine: there is no {PROGRAM}.",
            "Use the docker runtime, or leave `frontend` out.",
        )
    return python, PROGRAM, context.profile.bind
