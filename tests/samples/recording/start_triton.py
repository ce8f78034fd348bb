"""Starts the real tritonserver in a room, on a repository of small models that a case can break."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.settings import Settings
from engine.stacks.local_triton import LocalTriton, find_tritonserver
from tests.samples.recording.room import Act, Recorded, Room, free_port
from tests.samples.recording.versions import triton_root

_LIMIT_S = 60.0
READY = r"Started Metrics Service"
ECHO = """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", given)]))
        return answers
"""
CONFIG = """backend: "python"
max_batch_size: 8
input [{ name: "INPUT" data_type: TYPE_FP32 dims: [ 4 ] }]
output [{ name: "OUTPUT" data_type: TYPE_FP32 dims: [ 4 ] }]
instance_group [{ kind: KIND_CPU }]
"""


def repository(room: Room) -> Path:
    folder = room.folder / "models"
    folder.mkdir(exist_ok=True)
    return folder


def add(room: Room, name: str = "echo", config: str = CONFIG, model: str | None = ECHO) -> Path:
    """A model in the repository; without `model.py` when None."""
    folder = repository(room) / name
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(config)
    if model is not None:
        (folder / "1/model.py").write_text(model)
    return folder


def local_triton(room: Room) -> LocalTriton:
    folder = room.folder / "settings"
    return find_tritonserver(Settings(folder, folder, folder, working_dir=room.folder))


def start(
    room: Room,
    *options: str,
    ready: str = "",
    then: Act | None = None,
    ports: Mapping[str, int] | None = None,
    env: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
    repositories: Sequence[str] | None = None,
) -> Recorded:
    """On loopback, each service on a free port if `ports` does not say otherwise."""
    triton_root()
    local = local_triton(room)
    room.places |= {
        str(triton_root()): "/opt/tritonserver",
        str(local.backends): "/opt/tritonserver/backends",
        str(triton_root().parent.parent): "/usr/local/lib/python3.11/dist-packages",
        sys.prefix: "/usr/local",
        sys.base_prefix: "/usr",
        str(room.folder / "models"): "/models",
        str(room.folder): "/srv",
        str(Path.home()): "/home/user",
    }
    given = dict(ports or {})
    taken = {kind: given.get(kind) or free_port() for kind in ("http", "grpc", "metrics")}
    where = [str(repository(room))] if repositories is None else repositories
    command = [
        *within,
        local.program,
        *(f"--model-repository={folder}" for folder in where),
        *local.arguments,
        *(word for kind, port in taken.items() for word in (f"--{kind}-port={port}", f"--{kind}-address=127.0.0.1")),
        f"--backend-config=python,shm-region-prefix-name=sample_{os.getpid()}",
        *options,
    ]
    room.places[f"sample_{os.getpid()}"] = "triton_python_backend_shm_region"
    given_env = {"HOME": str(room.folder), **local.env, **(env or {})}
    return room.run(command, given_env, ready=ready, then=then, limit_s=_LIMIT_S)
