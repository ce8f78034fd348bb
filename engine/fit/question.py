"""What the fit is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from engine.profile import ModelNumbers

EngineKind = Literal["vllm", "tensorrt-llm"]


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Bytes of one GPU."""

    total: int
    used: int = 0


@dataclass(frozen=True, slots=True)
class FitQuestion:
    engine: EngineKind
    options: Mapping[str, Any]
    """The engine's own, as it gets them"""
    cache: Path
    """The Hugging Face hub's cache on this machine; it need not exist"""
    model: str | None = None
    """Repository id, looked for in the cache"""
    folder: Path | None = None
    """The model's own folder, when it is on this machine"""
    engines: Path | None = None
    """TensorRT-LLM: folder of the prebuilt engine"""
    numbers: ModelNumbers | None = None
    """From the profile; they win over files"""
    gpus: tuple[GpuMemory, ...] = ()
    """Those it is placed on; empty when they are not known"""
    gpu_count: int = 0
    """How many it gets; counts when `gpus` is empty"""
    version: str | None = None
    """The engine's"""
    context: int | None = None
    concurrency: int = 1
    reserve: float = 0.0
    """Share of each GPU's memory that must stay free for another job"""
    env: Mapping[str, str] = field(default_factory=dict)
    """The server's environment: VLLM_ALLOW_LONG_MAX_MODEL_LEN lets vLLM go beyond the model's limit"""
