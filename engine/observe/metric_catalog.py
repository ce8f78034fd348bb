"""What the console shows of a server's metrics, as data: each idea, and the names it has had across versions."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    GAUGE = "gauge"
    RATE = "rate"
    """Increase of a counter per second"""
    RATIO = "ratio"
    """Increase of a counter per increase of another, between two scrapes"""
    QUANTILE = "quantile"
    """Of a histogram's observations between two scrapes"""


class Over(StrEnum):
    """How a gauge's label sets become one number."""

    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Idea:
    key: str
    title: str
    unit: str
    """req/s, tok/s, s, %, bytes …; empty for a plain count"""
    kind: Kind
    families: tuple[str, ...]
    """Alternative names without `_total`, the newest first"""
    per: tuple[str, ...] = ()
    """The denominator's alternative names"""
    over: Over = Over.SUM
    scale: float = 1.0
    """From the exposed unit to `unit`"""
    quantile: float = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.families, *self.per)


_MICROSECONDS = 1e-6
_MILLISECONDS = 1e-3
_FRACTION_TO_PERCENT = 100.0

_SUCCESSES = ("nv_inference_request_success",)
_TTFT = ("vllm:time_to_first_token_seconds",)
_BETWEEN_TOKENS = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
_END_TO_END = ("vllm:e2e_request_latency_seconds",)
_QUEUE_TIME = ("vllm:request_queue_time_seconds",)
_FIRST_RESPONSE = ("nv_inference_first_response_histogram_ms",)


def _per_request(key: str, title: str, family: str) -> Idea:
    return Idea(key, title, "s", Kind.RATIO, (family,), per=_SUCCESSES, scale=_MICROSECONDS)


CATALOGUE: tuple[Idea, ...] = (
    # vLLM, by itself or through the Triton backend
    Idea("running", "Running", "", Kind.GAUGE, ("vllm:num_requests_running",)),
    Idea("waiting", "Waiting", "", Kind.GAUGE, ("vllm:num_requests_waiting",)),
    Idea(
        "kv_cache",
        "KV cache",
        "%",
        Kind.GAUGE,
        ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        over=Over.MAX,
        scale=_FRACTION_TO_PERCENT,
    ),
    Idea("generation", "Generation", "tok/s", Kind.RATE, ("vllm:generation_tokens",)),
    Idea("prompt", "Prompt", "tok/s", Kind.RATE, ("vllm:prompt_tokens",)),
    Idea("finished", "Finished", "req/s", Kind.RATE, ("vllm:request_success",)),
    Idea("ttft_p50", "TTFT p50", "s", Kind.QUANTILE, _TTFT),
    Idea("ttft_p99", "TTFT p99", "s", Kind.QUANTILE, _TTFT, quantile=0.99),
    Idea("itl_p50", "ITL p50", "s", Kind.QUANTILE, _BETWEEN_TOKENS),
    Idea("itl_p99", "ITL p99", "s", Kind.QUANTILE, _BETWEEN_TOKENS, quantile=0.99),
    Idea("e2e_p50", "End to end p50", "s", Kind.QUANTILE, _END_TO_END),
    Idea("e2e_p99", "End to end p99", "s", Kind.QUANTILE, _END_TO_END, quantile=0.99),
    Idea("queue_p50", "Queue p50", "s", Kind.QUANTILE, _QUEUE_TIME),
    Idea("preemptions", "Preemptions", "/s", Kind.RATE, ("vllm:num_preemptions",)),
    Idea(
        "prefix_hits",
        "Prefix cache hits",
        "%",
        Kind.RATIO,
        ("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"),
        per=("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"),
        scale=_FRACTION_TO_PERCENT,
    ),
    # Triton Inference Server
    Idea("requests", "Requests", "req/s", Kind.RATE, _SUCCESSES),
    Idea("failures", "Failures", "req/s", Kind.RATE, ("nv_inference_request_failure",)),
    Idea("pending", "Pending", "", Kind.GAUGE, ("nv_inference_pending_request_count",)),
    _per_request("request_time", "Time per request", "nv_inference_request_duration_us"),
    _per_request("queue_time", "Queue per request", "nv_inference_queue_duration_us"),
    _per_request("compute_time", "Compute per request", "nv_inference_compute_infer_duration_us"),
    Idea("first_response_p50", "First response p50", "s", Kind.QUANTILE, _FIRST_RESPONSE, scale=_MILLISECONDS),
    Idea(
        "first_response_p99",
        "First response p99",
        "s",
        Kind.QUANTILE,
        _FIRST_RESPONSE,
        scale=_MILLISECONDS,
        quantile=0.99,
    ),
    Idea("executions", "Executions", "/s", Kind.RATE, ("nv_inference_exec_count",)),
    Idea("batch_size", "Batch size", "", Kind.RATIO, ("nv_inference_count",), per=("nv_inference_exec_count",)),
    Idea(
        "gpu_utilization",
        "Busiest GPU",
        "%",
        Kind.GAUGE,
        ("nv_gpu_utilization",),
        over=Over.MAX,
        scale=_FRACTION_TO_PERCENT,
    ),
    Idea("gpu_memory", "GPU memory", "bytes", Kind.GAUGE, ("nv_gpu_memory_used_bytes",)),
    Idea("cpu", "CPU", "%", Kind.GAUGE, ("nv_cpu_utilization",), over=Over.MAX, scale=_FRACTION_TO_PERCENT),
    Idea("cpu_memory", "Host memory", "bytes", Kind.GAUGE, ("nv_cpu_memory_used_bytes",)),
    Idea("pinned_memory", "Pinned memory", "bytes", Kind.GAUGE, ("nv_pinned_memory_pool_used_bytes",)),
)

WANTED: frozenset[str] = frozenset(name for idea in CATALOGUE for name in idea.names)
