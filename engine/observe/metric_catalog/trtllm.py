"""TensorRT-LLM's metrics, as its C++ backend gives them to Triton; all are gauges of the last iteration.

Names and labels: tensorrtllm_backend's `inflight_batcher_llm/src/custom_metrics_reporter`.
"""

from engine.metrics_reading import Group
from engine.observe.metric_catalog.idea import FRACTION_TO_PERCENT, Idea, Kind, Pick

_REQUESTS = ("nv_trt_llm_request_metrics",)
_BLOCKS = ("nv_trt_llm_kv_cache_block_metrics",)
_MEMORY = ("nv_trt_llm_runtime_memory_metrics",)
_BATCHER = ("nv_trt_llm_inflight_batcher_metrics",)


def _gauge(key: str, title: str, unit: str, group: Group, names: tuple[str, ...], label: str, value: str) -> Idea:
    return Idea(key, title, unit, Kind.GAUGE, group, (Pick(names, label, only=(value,)),))


TRTLLM: tuple[Idea, ...] = (
    _gauge("running", "Running", "", Group.REQUESTS, _REQUESTS, "request_type", "scheduled"),
    _gauge("waiting", "Waiting", "", Group.REQUESTS, _REQUESTS, "request_type", "waiting"),
    _gauge("active", "Active", "", Group.REQUESTS, _REQUESTS, "request_type", "active"),
    _gauge("prefilling", "Prefilling", "", Group.REQUESTS, _REQUESTS, "request_type", "context"),
    _gauge("most_requests", "At most", "", Group.REQUESTS, _REQUESTS, "request_type", "max"),
    Idea(  # blocks rather than `fraction`, which older versions lack
        "kv_cache",
        "KV cache",
        "%",
        Kind.SHARE,
        Group.CACHE,
        (Pick(_BLOCKS, "kv_cache_block_type", only=("used",)),),
        per=(Pick(_BLOCKS, "kv_cache_block_type", only=("max",)),),
        scale=FRACTION_TO_PERCENT,
    ),
    _gauge("kv_blocks_used", "KV blocks used", "", Group.CACHE, _BLOCKS, "kv_cache_block_type", "used"),
    _gauge("kv_blocks_free", "KV blocks free", "", Group.CACHE, _BLOCKS, "kv_cache_block_type", "free"),
    _gauge(
        "generating",
        "Generating",
        "",
        Group.ENGINE,
        _BATCHER,
        "inflight_batcher_specific_metric",
        "generation_requests",
    ),
    _gauge(
        "context_tokens",
        "Context tokens",
        "tok",
        Group.ENGINE,
        _BATCHER,
        "inflight_batcher_specific_metric",
        "total_context_tokens",
    ),
    _gauge("paused", "Paused", "", Group.ENGINE, _BATCHER, "inflight_batcher_specific_metric", "paused_requests"),
    _gauge("engine_gpu_memory", "Engine's GPU memory", "bytes", Group.ENGINE, _MEMORY, "memory_type", "gpu"),
    _gauge("engine_cpu_memory", "Engine's host memory", "bytes", Group.ENGINE, _MEMORY, "memory_type", "cpu"),
    _gauge("engine_pinned_memory", "Engine's pinned memory", "bytes", Group.ENGINE, _MEMORY, "memory_type", "pinned"),
)
