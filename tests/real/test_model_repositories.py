"""What is said of a model repository before the start, against what the real tritonserver does with the same one."""

import contextlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.deployment import Lifecycle
from engine.errors import EngineError, InvalidProfile
from engine.profile import Expose, Profile
from engine.runtimes.process import ProcessRuntime
from engine.stacks import STACKS
from engine.stacks.context import PlanContext
from engine.stacks.local_triton import find_tritonserver
from tests.real.triton_support import free_ports, kill_all, of, settings_in, text_of, wait_until

pytestmark = pytest.mark.triton

PYTHON = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(0)
        return config
"""
TENSORS = 'input { name: "A" data_type: TYPE_FP32 dims: 1 } output { name: "B" data_type: TYPE_FP32 dims: 1 }'
ENSEMBLE = (
    'platform: "ensemble" %s ensemble_scheduling { step { model_name: "%s" model_version: -1'
    ' input_map { key: "A" value: "A" } output_map { key: "B" value: "B" } } }'
)
GOOD: dict[str, tuple[str | None, str]] = {
    "plain": (f'backend: "python" {TENSORS}', "1/model.py"),
    "complete": (None, "1/model.py"),
    "by-file": (TENSORS, "3/model.py"),
    "renamed": ('backend: "python" default_model_filename: "other.py" ' + TENSORS, "1/other.py"),
    "specific": (f'backend: "python" version_policy {{ specific {{ versions: [2] }} }} {TENSORS}', "2/model.py"),
    "default": (
        f'backend: "python" parameters {{ key: "k" value {{ string_value: "${{k}}" }} }} {TENSORS}',
        "1/model.py",
    ),
    "made-of": (ENSEMBLE % (TENSORS, "plain"), "1/"),
}
BAD: dict[str, tuple[str | None, str]] = {
    "unversioned": (f'backend: "python" {TENSORS}', "model.py"),
    "leading-zero": (f'backend: "python" {TENSORS}', "01/model.py"),
    "word": (f'backend: "python" {TENSORS}', "one/model.py"),
    "unspecific": (f'backend: "python" version_policy {{ specific {{ versions: [2] }} }} {TENSORS}', "1/model.py"),
    "misnamed": (f'name: "another" backend: "python" {TENSORS}', "1/model.py"),
    "unfilled": ('backend: "python" max_batch_size: ${size}', "1/model.py"),
    "unfilled-backend": ('backend: "${triton_backend}"\n' + TENSORS, "1/model.py"),
    "misspelt": ('bakend: "python"', "1/model.py"),
    "unknown": ('backend: "no_such_backend" ' + TENSORS, "1/"),
    "untold": (TENSORS, "1/weights.bin"),
    "no-model-py": (f'backend: "python" {TENSORS}', "1/weights.bin"),
    "on-gpu": (f'backend: "python" instance_group {{ kind: KIND_GPU }} {TENSORS}', "1/model.py"),
    "missing-step": (ENSEMBLE % (TENSORS, "nowhere"), "1/"),
    ".hidden": (None, "config"),
}
SLOW = "no-model-py"
"""The server itself says it only when it has waited for the stub, minutes later"""


def test_the_server_loads_what_is_let_pass_and_refuses_what_is_not(tmp_path: Path) -> None:
    settings, repository = settings_in(tmp_path), tmp_path / "repo"
    try:
        find_tritonserver(settings)
    except EngineError as error:
        pytest.skip(str(error))
    for name, (config, file) in (GOOD | BAD).items():
        path = repository / name / file
        (path if file.endswith("/") else path.parent).mkdir(parents=True)
        if not file.endswith("/"):
            path.write_text(PYTHON)
        if config is not None:
            (repository / name / "config.pbtxt").write_text(config)
    http = free_ports(1)[0]

    def context(*load: str) -> PlanContext:
        engine: dict[str, Any] = {
            "model_control_mode": "explicit",
            "backend_config": "python,stub-timeout-seconds=5",
            **({"load_model": list(load)} if load else {}),
        }
        profile = Profile(name="repo", stack="triton", repository="repo", engine=engine, expose=Expose(http=http))
        return PlanContext(profile, tmp_path / "p.yaml", "", "process", settings)

    said = {}
    for name in GOOD | BAD:
        try:
            STACKS["triton"](context(name))
        except InvalidProfile as error:
            said[name] = str(error)
    assert set(said) == set(BAD)

    plan = STACKS["triton"](context())
    assert {warning.split(" ")[0] for warning in plan.warnings} == set(BAD)
    launch, runtime = plan.launch, ProcessRuntime(settings)
    try:
        runtime.create(launch)
        runtime.start(launch.name)

        def ready() -> bool:
            assert of(runtime, launch.name).lifecycle is Lifecycle.RUNNING, text_of(runtime, launch.name)
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(launch.service.health, timeout=1).status_code == httpx.codes.OK
            return False

        wait_until(ready, "the server is ready", 60)
        for name in GOOD | BAD:
            if name == SLOW:
                continue
            answer = httpx.post(f"{launch.service.http}/v2/repository/models/{name}/load", timeout=60)
            loaded = answer.status_code == httpx.codes.OK
            assert loaded is (name in GOOD), f"{name}: {answer.text}; said beforehand: {said.get(name)}"
        runtime.stop(launch.name, 45)
    finally:
        kill_all(settings)
