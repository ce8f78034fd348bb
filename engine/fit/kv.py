"""Bytes of keys and values on the fullest GPU, by vLLM's rules (`v1/kv_cache_interface.py`, `kv_cache_utils.py`)."""

from dataclasses import dataclass

from engine.fit.options import EngineOptions
from engine.fit.quantization import DTYPE_BYTES, NVFP4_BYTES
from engine.fit.shape import Attention, ModelShape


@dataclass(frozen=True, slots=True)
class KvCost:
    """What requests cost in KV cache."""

    block: int
    """Tokens of one block, the least that is given out"""
    full: int
    """Bytes a token of all layers that keep everything"""
    sliding: int
    """Bytes a token of all layers that keep no more than their window"""
    window: int
    """Tokens that such a layer may have to keep: the window, and what is computed at once"""
    layers: str
    """In words"""

    @property
    def per_token(self) -> int:
        """Bytes that each further token costs; of a model that only has windows, up to the window."""
        return self.full or self.sliding

    def request(self, tokens: int) -> int:
        """Bytes of one request."""
        blocks = -(-tokens // self.block)
        kept = min(blocks, -(-self.window // self.block)) + 1 if self.sliding else 0
        return (blocks * self.full + kept * self.sliding) * self.block

    def largest(self, room: int, limit: int) -> int:
        """The longest request, in whole blocks up to `limit`, that takes no more than `room`; 0 when none does."""
        if self.request(limit) <= room:
            return limit
        low, high = 0, limit // self.block
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.request(middle * self.block) <= room else (low, middle - 1)
        return low * self.block

    def tokens(self, room: int, context: int) -> int:
        """For how many tokens there is room in requests of `context` tokens."""
        if not self.sliding:
            return room // (self.block * self.full) * self.block if self.full else 0
        return int(room / self.request(context) * context) if room > 0 else 0


def kv_cost(shape: ModelShape, options: EngineOptions, dtype: str, batched: int) -> KvCost:
    """`dtype`: what the model computes in. `batched`: tokens computed at once."""
    each = _element_bytes(shape, options, dtype)
    full = sum(kind.layers for kind in shape.attention if kind.window is None or not options.windows)
    sliding = [kind for kind in shape.attention if kind.window is not None and options.windows]
    group = _group(full, sum(kind.layers for kind in sliding)) if options.engine == "vllm" else 1
    of_full = sum(
        _layer_bytes(shape, kind, options, each) * _on_one(kind.layers, options, group)
        for kind in shape.attention
        if kind not in sliding
    )
    of_sliding = sum(
        _layer_bytes(shape, kind, options, each) * _on_one(kind.layers, options, group) for kind in sliding
    )
    window = max((kind.window or 0) - 1 + batched for kind in sliding) if sliding else 0
    return KvCost(options.block, int(of_full), int(of_sliding), window, _words(shape, full, sliding))


def _element_bytes(shape: ModelShape, options: EngineOptions, dtype: str) -> float:
    kv = options.kv_dtype
    if kv.startswith(("fp8", "int8")):
        return 1
    if kv.startswith("nvfp4"):
        return NVFP4_BYTES
    if kv in ("", "auto") and shape.quantization is not None and shape.quantization.kv_eight_bits:
        return 1
    return DTYPE_BYTES.get(kv, DTYPE_BYTES[dtype])


def _layer_bytes(shape: ModelShape, kind: Attention, options: EngineOptions, each: float) -> float:
    """Of one layer on one GPU, a token."""
    if shape.latent:  # every GPU keeps all of it
        return (shape.latent * each + shape.index) / options.context_parallel
    return 2 * max(1, kind.kv_heads // options.tensor) * kind.head_dim * each / options.context_parallel


def _on_one(layers: int, options: EngineOptions, group: int) -> int:
    """Layers of one kind on the fullest GPU, made up to whole groups."""
    here = -(-layers // options.pipeline)
    group = max(1, -(-group // options.pipeline))
    return -(-here // group) * group


def _group(full: int, sliding: int) -> int:
    """vLLM's blocks serve groups of as many layers each, so layers of the commoner kind are padded to whole groups."""
    if not full or not sliding:
        return 1
    least, most = sorted((full, sliding))
    return most if most < least * 1.5 else least


def _words(shape: ModelShape, full: int, sliding: list[Attention]) -> str:
    words = f"{full} layers" if full else ""
    for kind in sliding:
        words += f"{', ' if words else ''}{kind.layers} layers with a window of {kind.window} tokens"
    if shape.latent:
        words += ", latent"
    if shape.state_layers:
        words += f", without the constant state of {shape.state_layers} layers"
    return words
