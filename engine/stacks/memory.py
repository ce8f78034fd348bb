"""The fit of a plan: what is asked of `engine.fit` for a profile, on the GPUs that it is placed on."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.fit.assess import assess
from engine.fit.options import read_options
from engine.fit.question import EngineKind, FitQuestion, GpuMemory
from engine.fit.reserve import with_reserve
from engine.fit.result import Fit
from engine.plan import PlacedGpu
from engine.stacks.context import PlanContext
from engine.stacks.huggingface import Located, hub_cache

_LOADED = ("weights", "activations and graphs", "LoRA adapters")
"""Rows of the fit that no engine starts without"""


def fitted(
    context: PlanContext,
    engine: EngineKind,
    options: Mapping[str, Any],
    *,
    model: Located | None = None,
    engines: Path | None = None,
    version: str | None = None,
) -> tuple[dict[str, Any], Fit | None]:
    """The options, with the engine's share of memory as `reserve` wants it, and what the fit says of them.

    None of it without a GPU: what fits there is not told.
    `engines`: a prebuilt TensorRT-LLM engine, in place of a model.
    """
    if context.placement.gpus == 0:
        return dict(options), None
    wish, placed = context.profile.fit, context.placement.placed
    gpus = tuple(GpuMemory(gpu.memory_total, gpu.memory_used or 0) for gpu in placed if gpu.memory_total)
    if not gpus and wish.gpu_memory:
        gpus = (GpuMemory(wish.gpu_memory),) * context.placement.count
    question = FitQuestion(
        engine,
        options,
        hub_cache(),
        model.word if model and not model.folder else None,
        model.folder if model else None,
        engines,
        wish.model,
        gpus,
        context.placement.count,
        version,
        wish.context,
        wish.concurrency,
        context.reserve,
        context.profile.env,
    )
    fit, chosen = assess(question), dict(options)
    if context.reserve:
        chosen = with_reserve(engine, options, context.reserve, fit)
        fit = assess(replace(question, options=chosen))
    context.needs_bytes = _needed(question.engine, chosen, version, fit, placed)
    return chosen, fit


def _needed(
    engine: EngineKind, options: Mapping[str, Any], version: str | None, fit: Fit, placed: tuple[PlacedGpu, ...]
) -> dict[str, int]:
    """UUID -> bytes that must be free before the start, where that is known.

    vLLM refuses to start when less than its share of the *total* is free (`request_memory` in its v1/worker/utils.py).
    Others need room for the weights and for computing, at the least that these may take.
    """
    read = read_options(engine, options, version)
    gpus = [gpu for gpu in placed if gpu.memory_total][: read.ranks_here or None]
    if engine == "vllm" and read.kv_bytes is None:
        return {gpu.uuid: math.ceil((gpu.memory_total or 0) * read.share) for gpu in gpus}
    least = sum(row.low for row in fit.rows if row.title in _LOADED)
    return {gpu.uuid: least for gpu in gpus} if least else {}
