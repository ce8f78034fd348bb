"""Bytes of weights on the fullest GPU."""

from engine.fit.model import Model
from engine.fit.options import EngineOptions
from engine.fit.quantization import AT_LOAD, DTYPE_BYTES, MXFP4_BYTES, Quantization, named
from engine.fit.shape import parameters
from engine.fit.values import Range, gib

_PADDED_MXFP4 = 1.09
"""What MXFP4 experts take at most over their files: kernels pad and reorder them. gpt-oss-120b: 65.25 GB of files,
64.4 to 66.0 GiB loaded (vllm-project/vllm issues 33155 and 23278)."""
_BY_SHAPE = 1.03


def weights(model: Model, options: EngineOptions) -> tuple[Range, str] | None:
    """Of one GPU, and how it was computed; None when nothing tells."""
    if model.rank is not None and not model.stored:
        return Range(model.rank, model.rank), "the largest rank of the engine"
    found = _all(model, options)
    if found is None:
        return None
    total, how = found
    if options.speculates:
        how += ", without the draft model"
    least = _of_one(model, options, total.low)
    most = _of_one(model, options, total.high)
    if options.world > 1 or options.data > 1:
        how += f" ÷ {options.tensor * options.pipeline}" if options.data == 1 else ", spread"
    if options.offload:
        how += f", {gib(options.offload)} of them kept by the CPU"
    return Range(max(0, least - options.offload), max(0, most - options.offload)), how


def served_dtype(model: Model, options: EngineOptions) -> str:
    """What the engine computes in: 16 bits for a checkpoint of 32, unless it is told otherwise."""
    if options.dtype in DTYPE_BYTES:
        return options.dtype
    stated = model.shape.dtype or "bfloat16"
    return "float16" if DTYPE_BYTES[stated] != 2 else stated


def _all(model: Model, options: EngineOptions) -> tuple[Range, str] | None:
    """Bytes of all weights as they are served."""
    shape = model.shape
    dtype = served_dtype(model, options)
    served = DTYPE_BYTES[dtype]
    quantized = shape.quantization
    if model.stored:
        how = f"{gib(model.stored)} {model.stored_from}".rstrip()
        if quantized is not None or model.stored_from == "as the profile states":
            most = int(model.stored * _PADDED_MXFP4) if _is_mxfp4(quantized) else model.stored
            return Range(model.stored, most), how
        total = model.stored * served / DTYPE_BYTES[shape.dtype or dtype]
        if options.quantization in AT_LOAD:
            tables = min(total, shape.tables * served)
            total = tables + (total - tables) * AT_LOAD[options.quantization] / served
            how += f", quantized at load ({options.quantization})"
        elif shape.dtype and DTYPE_BYTES[shape.dtype] != served:
            how += f", served as {dtype}"
        return Range(int(total), int(total)), how
    quantized = quantized or named(options.quantization)
    each = quantized.weight_bytes if quantized else served
    words = quantized.words if quantized else dtype
    if model.billions:
        tables = min(float(shape.tables), model.billions * 1e9)
        whole = tables * served + (model.billions * 1e9 - tables) * each
        padding = _PADDED_MXFP4 if _is_mxfp4(quantized) else 1.0
        return Range(int(whole), int(whole * padding)), f"{model.billions:g} billion parameters, {words}"
    if not shape.vocab:
        return None
    everything, _ = parameters(shape)
    total = shape.tables * served + (everything - shape.tables) * each
    return Range(int(total / _BY_SHAPE), int(total * _BY_SHAPE)), f"by the model's shape, {words}"


def _of_one(model: Model, options: EngineOptions, total: float) -> int:
    """Tensor parallelism splits every layer; pipeline parallelism gives whole layers, the ends an extra table each."""
    shape = model.shape
    experts = 0.0
    if shape.experts and options.data > 1:
        # Replicas of a mixture share its experts: each holds a part (vLLM's data parallel deployment).
        everything, in_experts = parameters(shape)
        experts = total * in_experts / max(1, everything)
    rest = total - experts
    if options.pipeline > 1:
        tables = min(rest, shape.tables * 2)
        end = tables if shape.tied else tables / 2
        layers = min(1.0, -(-shape.layers // options.pipeline) / shape.layers)
        rest = (rest - tables) * layers + end
        experts *= layers
    return int(rest / options.tensor + experts / (options.tensor * options.data))


def _is_mxfp4(quantized: Quantization | None) -> bool:
    return quantized is not None and quantized.weight_bytes == MXFP4_BYTES
