"""What the engine takes beside weights and KV cache: activations, CUDA graphs, contexts, LoRA slots.

Estimates, as ranges, fitted to vLLM's own logs of real runs (vllm-project/vllm 10511, 10517, 23278, 27508).
"""

from dataclasses import dataclass

from engine.fit.options import EngineOptions
from engine.fit.shape import ModelShape
from engine.fit.values import GIB, NOTHING, Range

_LARGE_GPU = 70 * GIB
"""vLLM takes larger batches by default on GPUs with at least as much (A100 excepted)"""
_ON_LARGE = (8192, 1024)
_ON_SMALL = (2048, 256)
_CONTEXT = Range(int(0.3 * GIB), int(0.6 * GIB))
_NCCL = Range(int(0.3 * GIB), GIB)
_LIBRARIES = Range(int(0.1 * GIB), int(0.6 * GIB))
_VISION = Range(0, 3 * GIB)
# How many copies of all logits sampling holds at once: at least the logits and their softmax; vLLM warms up with a sort
# for top-k and top-p, which makes it about eight.
_COPIES = {"vllm": (2, 8), "tensorrt-llm": (1, 3)}


@dataclass(frozen=True, slots=True)
class Overhead:
    within: Range
    """Counted by the engine's own budget"""
    outside: Range
    """On top of it"""
    adapters: Range

    @property
    def all_but_adapters(self) -> Range:
        return self.within + self.outside


def batch(options: EngineOptions, gpu_total: int | None) -> tuple[tuple[int, int], tuple[int, int]]:
    """The least and the most tokens and requests computed at once."""
    if options.engine == "tensorrt-llm":
        least, most = (2048, 64), (8192, 2048)
    else:
        least, most = _ON_SMALL, _ON_LARGE if gpu_total is None or gpu_total >= _LARGE_GPU else _ON_SMALL
    tokens, requests = options.batched, options.sequences
    return (tokens or least[0], requests or least[1]), (tokens or most[0], requests or most[1])


def overhead(shape: ModelShape, options: EngineOptions, gpu_total: int | None) -> Overhead:
    (tokens, requests), (most_tokens, most_requests) = batch(options, gpu_total)
    width = _width(shape, options)
    fewest, most_copies = _COPIES[options.engine]
    logits = (shape.vocab or 32_000) * 4
    activations = Range(
        max(tokens * width // 2, requests * logits * fewest),
        max(most_tokens * width * 5 // 4, most_requests * logits * most_copies),
    )
    within, outside = activations + _LIBRARIES, _CONTEXT
    if shape.vision:
        within += _VISION
    if options.world > 1:
        outside += _NCCL
    if not options.eager:
        graphs = Range(int(0.15 * GIB), min(3 * GIB, _graphs(shape)))
        if options.graphs_counted:
            within += graphs
        else:
            outside += graphs
    return Overhead(within, outside, _adapters(shape, options))


def _graphs(shape: ModelShape) -> int:
    """The most that CUDA graphs take: more with each layer, less where layers are small."""
    return int((0.3 + 0.02 * shape.layers * min(1, shape.hidden / 4096)) * GIB)


def _width(shape: ModelShape, options: EngineOptions) -> int:
    """Bytes that computing one token holds at its peak: gate, up and their product, and a few copies of the token."""
    if shape.experts:
        wide = shape.experts_at_work * (3 * shape.expert_intermediate // options.tensor + shape.hidden)
    else:
        wide = 3 * shape.intermediate // options.tensor
    return (wide + 4 * shape.hidden) * 2


def _adapters(shape: ModelShape, options: EngineOptions) -> Range:
    """Slots for LoRA adapters, kept from the start: for each matrix rank × (in + out) numbers of 16 bits."""
    if not options.adapters:
        return NOTHING
    queries, values = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 4 * shape.hidden + 2 * queries + 2 * values
    feed_forward = 3 * (shape.hidden + shape.intermediate)
    layers = -(-shape.layers // options.pipeline)
    each = options.adapters * options.rank * layers * 2
    return Range(each * attention // options.tensor, each * (attention + feed_forward))
