"""A model's shape: what its `config.json` (or the profile) says that decides how much memory it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.fit.quantization import Quantization, dtype_of, quantization_of
from engine.fit.values import block, flag, whole

# What transformers assumes where the published config.json leaves a field out (configuration_gemma3.py and its kin).
_LEFT_OUT: dict[str, dict[str, Any]] = {
    "gemma2": {"tie_word_embeddings": True, "sliding_window": 4096, "sliding_window_pattern": 2},
    "gemma3_text": {
        "tie_word_embeddings": True,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "sliding_window_pattern": 6,
        "max_position_embeddings": 131072,
        "vocab_size": 262208,
    },
    "cohere2": {"sliding_window_pattern": 4},
    "gpt_oss": {"sliding_window_pattern": 2},
}
_LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")
# Kinds of scaling whose factor vLLM does not multiply with: it is in the limit already.
_SCALED_ALREADY = ("default", "su", "longrope", "llama3", "mrope")
_STATEFUL = ("linear_attention", "mamba", "mamba2", "conv", "recurrent", "ssm", "short_conv")


@dataclass(frozen=True, slots=True)
class Attention:
    """Layers of one kind."""

    layers: int
    kv_heads: int
    head_dim: int
    window: int | None = None
    """Tokens that a layer looks back at; None for all"""


@dataclass(frozen=True, slots=True)
class ModelShape:
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    attention: tuple[Attention, ...]
    """The kinds of layers that keep keys and values"""
    state_layers: int
    """Layers that keep a state of one size however long the request (Mamba, linear attention)"""
    latent: int
    """Multi-head latent attention: elements a token a layer, in place of keys and values; 0 without"""
    index: int
    """Bytes a token a layer of a sparse attention's indexer"""
    hidden: int
    intermediate: int
    vocab: int | None
    experts: int
    """0 for a dense model"""
    experts_at_work: int
    expert_intermediate: int
    expert_layers: int
    """Layers that have experts; the others are dense"""
    tied: bool
    """One matrix is both embedding and head"""
    vision: bool
    limit: int | None
    """Tokens that it was made for"""
    dtype: str | None
    """Of its weights, as its files say"""
    quantization: Quantization | None

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, or of the head."""
        return (self.vocab or 0) * self.hidden

    @property
    def tables(self) -> int:
        """Parameters of the embedding and the head together."""
        return self.embedding * (1 if self.tied else 2)


def flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    """The language model's part of a multimodal `config.json`, with what applies to all of it."""
    flat = dict(config)
    for name in ("llm_config", "language_config", "text_config", "thinker_config"):
        inner = block(flat, name)
        if inner:
            outer = {key: flat[key] for key in ("quantization_config", "torch_dtype", "dtype") if flat.get(key)}
            flat = {**outer, **flattened(inner), "has_other_parts": True}
    return flat


def shape_of(config: Mapping[str, Any]) -> ModelShape | str:
    """From a flattened config; otherwise the name of the field that is missing or senseless."""
    kind = config.get("model_type")
    known = {**(_LEFT_OUT.get(kind, {}) if isinstance(kind, str) else {}), **_without_nulls(config)}
    layers = whole(known, "num_hidden_layers", "n_layer", "num_layers", "n_layers", top=10_000)
    if layers is None:
        return "num_hidden_layers"
    heads = whole(known, "num_attention_heads", "n_head", "n_heads", "num_heads", top=1 << 20)
    if heads is None:
        return "num_attention_heads"
    hidden = whole(known, "hidden_size", "n_embd", "d_model", "dim")
    head_dim = whole(known, "head_dim", "head_size", "kv_channels", "attention_head_dim")
    latent, index = _latent(known, kind)
    if head_dim is None and hidden:
        head_dim = max(1, hidden // heads)
    if head_dim is None:
        if not latent:
            return "head_dim"
        head_dim = 128
    hidden = hidden or heads * head_dim
    kv_heads = _kv_heads(known, heads)
    expert_width = whole(known, "moe_intermediate_size", "expert_intermediate_size")
    width = whole(known, "intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", "inner_size")
    experts = whole(known, "num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", top=1 << 20) or 0
    if experts == 1:
        experts = 0
    kinds, stateful = _attention(known, layers, kv_heads, head_dim)
    return ModelShape(
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        attention=kinds,
        state_layers=stateful,
        latent=latent,
        index=index,
        hidden=hidden,
        # Three and a half times the hidden size is what Llama and its kin have.
        intermediate=width or hidden * 7 // 2,
        vocab=whole(known, "vocab_size", "padded_vocab_size"),
        experts=experts,
        experts_at_work=whole(known, "num_experts_per_tok", "moe_top_k", "top_k_experts", top=experts or 1) or 2,
        expert_intermediate=expert_width or width or hidden,
        expert_layers=_expert_layers(known, layers) if experts else 0,
        tied=flag(known, "tie_word_embeddings"),
        vision=bool(known.get("has_other_parts")),
        limit=_limit(known),
        dtype=dtype_of(known),
        quantization=quantization_of(known),
    )


def parameters(shape: ModelShape) -> tuple[int, int]:
    """All of a decoder's parameters and those of its experts, estimated from its shape: within 3 % for the usual."""
    attention = shape.layers * 2 * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
    dense = (shape.layers - shape.expert_layers) * 3 * shape.hidden * shape.intermediate
    experts = shape.expert_layers * shape.experts * 3 * shape.hidden * shape.expert_intermediate
    return attention + dense + experts + shape.tables, experts


def _without_nulls(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if value is not None}


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    names = ["num_key_value_heads", "n_head_kv", "num_kv_heads", "num_query_groups"]
    if flag(config, "multi_query_attention", default=True):
        names.append("multi_query_group_num")
    found = whole(config, *names, top=1 << 20)
    if found is None and flag(config, "multi_query") and not flag(config, "new_decoder_architecture"):
        return 1
    return found or heads


def _expert_layers(config: Mapping[str, Any], layers: int) -> int:
    dense_first = whole(config, "first_k_dense_replace", top=layers) or 0
    step = whole(config, "interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_freq", top=layers) or 1
    return (layers - dense_first) // step


def _latent(config: Mapping[str, Any], kind: object) -> tuple[int, int]:
    """Elements and indexer bytes a token a layer (vLLM `kv_cache_interface.MLAAttentionSpec`)."""
    rank = whole(config, "kv_lora_rank")
    # vLLM computes MiniCPM3's keys and values in full.
    if rank is None or kind == "minicpm3":
        return 0, 0
    indexer = whole(config, "index_head_dim")
    return rank + (whole(config, "qk_rope_head_dim") or 0), indexer + -(-indexer // 128) * 4 if indexer else 0


def _attention(
    config: Mapping[str, Any], layers: int, kv_heads: int, head_dim: int
) -> tuple[tuple[Attention, ...], int]:
    window = whole(config, "sliding_window", "sliding_window_size", "attention_window_size")
    if not flag(config, "use_sliding_window", default=True):
        window = None
    kinds = _layer_kinds(config, layers, windowed=window is not None)
    # Gemma 3n and 4: the last layers use the keys and values of earlier ones.
    shared = min(whole(config, "num_kv_shared_layers") or 0, len(kinds) - 1)
    kinds = kinds[: len(kinds) - shared]
    stateful = sum(kind in _STATEFUL for kind in kinds)
    sliding = sum(kind == "sliding_attention" for kind in kinds) if window else 0
    full = sum(kind not in (*_STATEFUL, "none") for kind in kinds) - sliding
    found = []
    if full:
        wide = whole(config, "global_head_dim") if sliding else None
        fewer = whole(config, "num_global_key_value_heads", top=1 << 20) if sliding else None
        found.append(Attention(full, fewer or kv_heads, wide or head_dim))
    if sliding:
        found.append(Attention(sliding, kv_heads, head_dim, window))
    return tuple(found), stateful


def _layer_kinds(config: Mapping[str, Any], layers: int, *, windowed: bool) -> list[str]:
    for name in ("layer_types", "layers_block_type"):
        stated = config.get(name)
        if isinstance(stated, list) and stated and len(stated) <= 10_000:
            return [kind if isinstance(kind, str) else "full_attention" for kind in stated]
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str) and 0 < len(pattern) <= 10_000:  # Nemotron-H
        return [{"M": "mamba", "*": "full_attention"}.get(kind, "none") for kind in pattern]
    every = whole(config, "full_attention_interval", top=10_000)
    if every:  # Qwen3-Next
        return ["full_attention" if (at + 1) % every == 0 else "linear_attention" for at in range(layers)]
    if not windowed:
        return ["full_attention"] * layers
    full = config.get("full_attention_layers")
    if isinstance(full, int) and not isinstance(full, bool) and full >= 0:  # the profile's own
        return ["full_attention"] * min(full, layers) + ["sliding_attention"] * (layers - min(full, layers))
    every = whole(config, "sliding_window_pattern", top=10_000)
    if every:
        return ["full_attention" if (at + 1) % every == 0 else "sliding_attention" for at in range(layers)]
    return ["sliding_attention"] * layers


def _limit(config: Mapping[str, Any]) -> int | None:
    """As vLLM derives it (`config/model.py`)."""
    limits = [limit for name in _LIMITS if (limit := whole(config, name))]
    if not limits:
        return None
    limit = min(limits)
    scaling = block(config, "rope_scaling") or block(config, "rope_parameters")
    kind = scaling.get("rope_type", scaling.get("type"))
    factor = scaling.get("factor")
    if not isinstance(kind, str) or kind in _SCALED_ALREADY or "original_max_position_embeddings" in config:
        return limit
    if kind == "yarn":
        limit = whole(scaling, "original_max_position_embeddings") or limit
    if isinstance(factor, int | float) and 1 < factor < 10_000:
        limit = int(limit * factor)
    return limit
