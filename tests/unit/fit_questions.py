"""Questions for the fit, about models whose config.json is in tests/samples/models."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.fit.model import Model, find_model
from engine.fit.options import EngineOptions, read_options
from engine.fit.question import EngineKind, FitQuestion, GpuMemory
from engine.fit.values import GIB

SAMPLES = Path(__file__).parents[1] / "samples" / "models"
NOWHERE = Path("/nonexistent/hub")


def config_of(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return data


def folder_of(folder: Path, config: Mapping[str, Any], total_size: int | None = None) -> Path:
    """A model's folder: its config.json, and the safetensors index when the size of its weights is given."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if total_size is not None:
        index = {"metadata": {"total_size": total_size}, "weight_map": {}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def ask(
    folder: Path,
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    total: float | None = None,
    used: float = 0.0,
    gpus: int = 1,
    engine: EngineKind = "vllm",
    weights: int | None = None,
    version: str | None = None,
    **more: Any,
) -> FitQuestion:
    """`total` and `used` in GiB a GPU."""
    memory = GpuMemory(int(total * GIB), int(used * GIB)) if total else None
    return FitQuestion(
        engine,
        options or {},
        NOWHERE,
        folder=folder_of(folder / "model", config_of(name), weights),
        gpus=(memory,) * gpus if memory else (),
        gpu_count=gpus,
        version=version,
        **more,
    )


def loaded(question: FitQuestion) -> tuple[Model, EngineOptions]:
    model, options = find_model(question)
    assert isinstance(model, Model), model
    return model, read_options(question.engine, options, question.version)
