"""How much GPU memory must be free before a start."""

import math
from pathlib import Path
from typing import Any

import pytest

from engine.fit.question import EngineKind
from engine.gpu_reading import Gpu
from engine.profile import Profile
from engine.settings import Settings
from engine.stacks.context import PlanContext
from engine.stacks.huggingface import Located
from engine.stacks.memory import fitted
from engine.stacks.placement import Machine
from tests.unit.fit_questions import config_of, folder_of

GIB = 1 << 30
TOTALS = (80 * GIB, 80 * GIB - 1, 48 * GIB)


def needed(folder: Path, engine: EngineKind, options: dict[str, Any], gpus: int = 1, **more: Any) -> list[int]:
    """Of each placed GPU in turn; 0 where nothing is said."""
    machine = Machine(tuple(Gpu(i, f"GPU-{i}", "H100", 0, 0, total, 30, 70, 700) for i, total in enumerate(TOTALS)))
    profile = Profile.model_validate({"name": "m", "stack": "vllm", "gpus": gpus, **more})
    settings = Settings(folder, folder, folder, (), folder)
    context = PlanContext(profile, folder / "p.yaml", "", "docker", settings, machine)
    model = Located("/model", folder_of(folder / "model", config_of("llama-3.1-8b"), 16 * GIB))
    version = "0.11.0" if engine == "vllm" else None
    fitted(context, engine, options, model=model, version=version)
    return [context.needs_bytes.get(gpu.uuid, 0) for gpu in context.placement.placed]


def test_vllm_must_find_its_share_of_the_total_free(tmp_path: Path) -> None:
    half = {"gpu_memory_utilization": 0.5, "max_model_len": 4096, "tensor_parallel_size": 2}
    assert needed(tmp_path, "vllm", half, 2) == [math.ceil(total * 0.5) for total in TOTALS[:2]]
    assert needed(tmp_path, "vllm", {"max_model_len": 4096}) == [math.ceil(TOTALS[0] * 0.9)], "its own default"
    assert needed(tmp_path, "vllm", half, 3) == [*(math.ceil(total * 0.5) for total in TOTALS[:2]), 0], "two ranks"


def test_of_a_model_that_is_not_here_vllms_share_is_known_all_the_same(tmp_path: Path) -> None:
    machine = Machine((Gpu(0, "GPU-0", "H100", 0, 0, TOTALS[0], 30, 70, 700),))
    profile = Profile.model_validate({"name": "m", "stack": "vllm", "gpus": 1})
    context = PlanContext(profile, tmp_path / "p", "", "docker", Settings(tmp_path, tmp_path, tmp_path), machine)
    fitted(context, "vllm", {"gpu_memory_utilization": 0.25}, model=Located("org/model"))
    assert context.needs_bytes == {"GPU-0": 20 * GIB}
    fitted(context, "tensorrt-llm", {}, model=Located("org/model"))
    assert context.needs_bytes == {}


def test_a_reserve_lowers_what_is_needed(tmp_path: Path) -> None:
    (whole,) = needed(tmp_path, "vllm", {"max_model_len": 4096})
    (reserved,) = needed(tmp_path, "vllm", {"max_model_len": 4096}, reserve=0.5)
    assert 0 < reserved < TOTALS[0] / 2 < whole


@pytest.mark.parametrize(
    ("engine", "options"),
    [("vllm", {"kv_cache_memory_bytes": 4 * GIB, "max_model_len": 4096}), ("tensorrt-llm", {"max_seq_len": 4096})],
)
def test_others_need_room_for_the_weights_and_for_computing(
    tmp_path: Path, engine: EngineKind, options: dict[str, Any]
) -> None:
    (least,) = needed(tmp_path, engine, options)
    assert 16 * GIB < least < 22 * GIB


def test_without_gpus_nothing_is_needed(tmp_path: Path) -> None:
    assert needed(tmp_path, "vllm", {}, 0) == []
