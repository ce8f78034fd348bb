"""What keeps an engine from starting whatever memory there is: sizes that do not divide, too few GPUs, the limit."""

from engine.fit.model import Model
from engine.fit.options import EngineOptions
from engine.fit.question import FitQuestion
from engine.fit.shape import ModelShape
from engine.fit.values import grouped

LARGEST_TENSOR = 64


def tensor_sizes(shape: ModelShape) -> list[int]:
    """Tensor parallel sizes that divide the attention heads, and the key-value heads or their copies."""
    return [size for size in range(1, min(shape.heads, LARGEST_TENSOR) + 1) if _divides(shape, size)]


def _divides(shape: ModelShape, size: int) -> bool:
    kv = shape.kv_heads
    return not shape.heads % size and (bool(shape.latent) or not kv % size or not size % kv)


def obstacle(model: Model, question: FitQuestion, options: EngineOptions) -> str | None:
    """One sentence, or None."""
    shape, prebuilt = model.shape, question.engines is not None
    if not prebuilt and not _divides(shape, options.tensor):
        sizes = ", ".join(map(str, tensor_sizes(shape)))
        return (
            f"tensor_parallel_size {options.tensor} does not divide the model's {shape.heads} attention heads and"
            f" {shape.kv_heads} key-value heads: {sizes} do."
        )
    if options.pipeline > shape.layers:
        return f"pipeline_parallel_size {options.pipeline} is more than the model's {shape.layers} layers."
    if question.gpu_count and options.ranks_here > question.gpu_count:
        words = f"tensor_parallel_size {options.tensor}"
        words += f" × pipeline_parallel_size {options.pipeline}" if options.pipeline > 1 else ""
        words += f" × data_parallel_size {options.data}" if options.data > 1 else ""
        other = "that many, or build the engine for fewer" if prebuilt else f"{options.ranks_here}, or lower the sizes"
        return f"It needs {options.ranks_here} GPUs ({words}) and gets {question.gpu_count}: set `gpus` to {other}."
    if options.engine == "vllm" and options.length and shape.limit and options.length > shape.limit:
        if question.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "").lower() in ("1", "true"):
            return None
        return (
            f"max_model_len {grouped(options.length)} is beyond the model's limit of {grouped(shape.limit)} tokens:"
            " vLLM refuses to start unless its RoPE is scaled (hf_overrides) or VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 is set."
        )
    return None
