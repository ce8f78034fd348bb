"""The engine's options that decide how memory is used, under one set of names for vLLM and TensorRT-LLM."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.fit.question import EngineKind
from engine.fit.values import GIB, block, count, flag, number

VLLM_BLOCK = 16
TRTLLM_BLOCK = 32
_SINCE_GRAPHS_COUNTED = (0, 21)
"""vLLM: CUDA graphs are within the budget, and the default share is 0.92"""
_SINCE_HYBRID = (0, 9, 1)
"""vLLM: layers with a sliding window keep no more than their window, beside layers that keep everything"""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    engine: EngineKind
    tensor: int
    pipeline: int
    data: int
    ranks_here: int
    """GPUs of this machine that it takes; 0 when the engine spans several machines"""
    length: int | None
    """Tokens of the longest request, as stated"""
    length_chosen: bool
    """The engine chooses it by the memory that there is"""
    share: float
    """vLLM: gpu_memory_utilization, of the total. TensorRT-LLM: of what is free once the model is loaded"""
    kv_bytes: int | None
    """vLLM: kv_cache_memory_bytes, in place of the share"""
    kv_tokens: int | None
    """TensorRT-LLM: the most tokens that are kept, however much is free"""
    batched: int | None
    sequences: int | None
    block: int
    kv_dtype: str
    dtype: str
    quantization: str
    eager: bool
    graphs_counted: bool
    windows: bool
    """Sliding windows bound what their layers keep"""
    offload: int
    adapters: int
    """LoRA adapters in GPU memory at once; 0 without LoRA"""
    rank: int
    context_parallel: int
    speculates: bool

    @property
    def world(self) -> int:
        """GPUs of one replica."""
        return self.tensor * self.pipeline


def release(version: str | None) -> tuple[int, ...] | None:
    """0.10.2.post1 as (0, 10, 2); None for what is no version."""
    match = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", version or "")
    return tuple(int(part) for part in match.groups(default="0")) if match else None


def default_share(version: str | None) -> float:
    """vLLM's own gpu_memory_utilization (0.90 up to 0.19.1, 0.92 from 0.22.1)."""
    known = release(version)
    return 0.9 if known and known < _SINCE_GRAPHS_COUNTED else 0.92


def read_options(engine: EngineKind, options: Mapping[str, Any], version: str | None) -> EngineOptions:
    """What makes no sense is as if it were not stated: the engine itself complains of it."""
    return _vllm(options, version) if engine == "vllm" else _tensorrt_llm(options)


def _vllm(options: Mapping[str, Any], version: str | None) -> EngineOptions:
    known = release(version)
    stated = options.get("max_model_len")
    share = number(options.get("gpu_memory_utilization"))
    tensor, pipeline = _size(options, "tensor_parallel_size"), _size(options, "pipeline_parallel_size")
    data = _size(options, "data_parallel_size")
    here = tensor * pipeline * (count(options.get("data_parallel_size_local")) or data)
    spread = options.get("distributed_executor_backend") == "ray" or _size(options, "nnodes") > 1
    return EngineOptions(
        engine="vllm",
        tensor=tensor,
        pipeline=pipeline,
        data=data,
        ranks_here=0 if spread else here,
        length=count(stated),
        length_chosen=stated in (-1, "-1", "auto"),
        share=share if share and share <= 1 else default_share(version),
        kv_bytes=count(options.get("kv_cache_memory_bytes")),
        kv_tokens=None,
        batched=count(options.get("max_num_batched_tokens")),
        sequences=count(options.get("max_num_seqs")),
        block=min(count(options.get("block_size")) or VLLM_BLOCK, 1 << 20),
        kv_dtype=_word(options.get("kv_cache_dtype")),
        dtype=_word(options.get("dtype")),
        quantization=_word(options.get("quantization")),
        eager=flag(options, "enforce_eager"),
        graphs_counted=known is None or known >= _SINCE_GRAPHS_COUNTED,
        windows=(known is None or known >= _SINCE_HYBRID) and not flag(options, "disable_hybrid_kv_cache_manager"),
        offload=int((number(options.get("cpu_offload_gb")) or 0) * GIB),
        adapters=(count(options.get("max_loras")) or 1) if flag(options, "enable_lora") else 0,
        rank=count(options.get("max_lora_rank")) or 16,
        context_parallel=_size(options, "decode_context_parallel_size"),
        speculates=bool(options.get("speculative_config")),
    )


def _tensorrt_llm(options: Mapping[str, Any]) -> EngineOptions:
    cache = block(options, "kv_cache_config")
    share = number(cache.get("free_gpu_memory_fraction", options.get("kv_cache_free_gpu_mem_fraction")))
    tensor, pipeline = _size(options, "tensor_parallel_size"), _size(options, "pipeline_parallel_size")
    graphs = options.get("cuda_graph_config", {})
    return EngineOptions(
        engine="tensorrt-llm",
        tensor=tensor,
        pipeline=pipeline,
        data=1,
        ranks_here=tensor * pipeline,
        length=count(options.get("max_seq_len")),
        length_chosen=False,
        share=share if share and share <= 1 else 0.9,
        kv_bytes=None,
        kv_tokens=count(cache.get("max_tokens", options.get("max_tokens_in_paged_kv_cache"))),
        batched=count(options.get("max_num_tokens")),
        sequences=count(options.get("max_batch_size")),
        block=min(count(cache.get("tokens_per_block")) or TRTLLM_BLOCK, 1 << 20),
        kv_dtype=_word(cache.get("dtype")),
        dtype=_word(options.get("dtype")),
        quantization="",
        eager=graphs is None,
        graphs_counted=True,
        windows=bool(cache.get("max_attention_window") or options.get("max_attention_window_size")),
        offload=0,
        adapters=0,
        rank=16,
        context_parallel=1,
        speculates=bool(options.get("speculative_config")),
    )


def _size(options: Mapping[str, Any], name: str) -> int:
    return min(count(options.get(name)) or 1, 1 << 20)


def _word(value: object) -> str:
    return value.strip().lower().removeprefix("torch.") if isinstance(value, str) else ""
