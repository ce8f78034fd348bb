"""The fit of a plan: what is asked of `engine.fit` for a profile, on the GPUs that it is placed on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.fit.assess import assess
from engine.fit.question import EngineKind, FitQuestion, GpuMemory
from engine.fit.reserve import with_reserve
from engine.fit.result import Fit
from engine.stacks.context import PlanContext
from engine.stacks.huggingface import Located, hub_cache


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
    fit = assess(question)
    if not context.reserve:
        return dict(options), fit
    chosen = with_reserve(engine, options, context.reserve, fit)
    return chosen, assess(replace(question, options=chosen))
