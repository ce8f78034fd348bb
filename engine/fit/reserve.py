"""The share of each GPU's memory that is left to another job, such as training."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.fit.question import EngineKind
    from engine.fit.result import Fit

RESERVED: dict[str, float] = {"inference-heavy": 0.2, "balanced": 0.5, "training-heavy": 0.8}
"""By the names that a profile may use instead of a number"""

_OUTSIDE = 0.05
"""Share of a GPU that vLLM takes beyond its own budget: CUDA's context, NCCL, graphs before 0.21"""
_DEFAULT = 0.9
"""Of both engines; of vLLM's defaults (0.92 since 0.21) the lower"""


def with_reserve(engine: "EngineKind", options: Mapping[str, Any], reserve: float, fit: "Fit") -> dict[str, Any]:
    """The options, with the engine's share of memory such that `reserve` of each GPU stays free; a stated one stays.

    `fit`: what `assess` said of the options as they are; the share is exact when it could tell. Otherwise vLLM gets
    what is not reserved less 5 % for what it takes beyond; TensorRT-LLM's share is of what is free after the load, and
    (1 − reserve)² of that keeps the reserve as long as weights take no more than half of what is allowed.
    """
    given = dict(options)
    if reserve <= 0:
        return given
    if engine == "vllm":
        if "gpu_memory_utilization" in given or "kv_cache_memory_bytes" in given:
            return given
        share = fit.gpu_memory_utilization or 1 - reserve - _OUTSIDE
        return {**given, "gpu_memory_utilization": _share(share)}
    cache = given.get("kv_cache_config") or {}
    stated = isinstance(cache, dict) and cache.keys() & {"free_gpu_memory_fraction", "max_tokens"}
    if stated or not isinstance(cache, dict) or "kv_cache_free_gpu_mem_fraction" in given:
        return given
    share = fit.free_gpu_memory_fraction or (1 - reserve) ** 2
    return {**given, "kv_cache_config": {**cache, "free_gpu_memory_fraction": _share(share)}}


def _share(share: float) -> float:
    """Rounded down to hundredths, never beyond the default."""
    return max(0.01, math.floor(min(_DEFAULT, share) * 100 + 1e-9) / 100)
