"""Triton Inference Server's metrics.

Names, units and labels: Triton core's `src/metrics.cc` and the server's `docs/user_guide/metrics.md`. An ensemble and
the models that it is made of each count a request.
"""

from engine.metrics_reading import Group
from engine.observe.metric_catalog.idea import (
    FRACTION_TO_PERCENT,
    MICROSECONDS,
    MILLISECONDS,
    Idea,
    Kind,
    Over,
    Pick,
    Split,
    pick,
    quantiles,
)

_MODEL = (Split.MODEL,)
_SUCCESSES = pick("nv_inference_request_success")
_FAILURES = ("nv_inference_request_failure",)


def _per_request(key: str, title: str, family: str) -> Idea:
    return Idea(
        key, title, "s", Kind.RATIO, Group.LATENCY, pick(family), per=_SUCCESSES, scale=MICROSECONDS, split=_MODEL
    )


def _summary(key: str, title: str, family: str) -> Idea:
    return Idea(
        f"{key}_summary",
        title,
        "s",
        Kind.SUMMARY,
        Group.LATENCY,
        pick(family),
        over=Over.MAX,
        scale=MICROSECONDS,
        split=_MODEL,
    )


TRITON: tuple[Idea, ...] = (
    Idea("requests", "Finished", "req/s", Kind.RATE, Group.REQUESTS, _SUCCESSES, split=_MODEL),
    Idea(
        "failures",
        "Failed",
        "req/s",
        Kind.RATE,
        Group.REQUESTS,
        (Pick(_FAILURES, "reason", but=("CANCELED",)),),
        split=(Split.REASON, Split.MODEL),
    ),
    Idea(
        "cancelled",
        "Cancelled",
        "req/s",
        Kind.RATE,
        Group.REQUESTS,
        (Pick(_FAILURES, "reason", only=("CANCELED",)),),
        split=_MODEL,
    ),
    Idea(
        "pending", "Pending", "", Kind.GAUGE, Group.REQUESTS, pick("nv_inference_pending_request_count"), split=_MODEL
    ),
    _per_request("request_time", "Time per request", "nv_inference_request_duration_us"),
    _per_request("queue_time", "Queue per request", "nv_inference_queue_duration_us"),
    _per_request("input_time", "Input per request", "nv_inference_compute_input_duration_us"),
    _per_request("compute_time", "Compute per request", "nv_inference_compute_infer_duration_us"),
    _per_request("output_time", "Output per request", "nv_inference_compute_output_duration_us"),
    *quantiles(
        "first_response",
        "First response",
        "s",
        Group.LATENCY,
        "nv_inference_first_response_histogram_ms",
        scale=MILLISECONDS,
        split=_MODEL,
    ),
    _summary("request", "Request", "nv_inference_request_summary_us"),
    _summary("queue", "Queue", "nv_inference_queue_summary_us"),
    _summary("input", "Input", "nv_inference_compute_input_summary_us"),
    _summary("compute", "Compute", "nv_inference_compute_infer_summary_us"),
    _summary("output", "Output", "nv_inference_compute_output_summary_us"),
    Idea("inferences", "Inferences", "/s", Kind.RATE, Group.MODELS, pick("nv_inference_count"), split=_MODEL),
    Idea("executions", "Executions", "/s", Kind.RATE, Group.MODELS, pick("nv_inference_exec_count"), split=_MODEL),
    Idea(
        "batch_size",
        "Batch size",
        "",
        Kind.RATIO,
        Group.MODELS,
        pick("nv_inference_count"),
        per=pick("nv_inference_exec_count"),
        split=_MODEL,
    ),
    Idea(
        "cache_hits",
        "Response cache hits",
        "%",
        Kind.RATIO,
        Group.MODELS,
        pick("nv_cache_num_hits_per_model"),
        per=pick("nv_cache_num_hits_per_model") + pick("nv_cache_num_misses_per_model"),
        scale=FRACTION_TO_PERCENT,
        split=_MODEL,
    ),
    Idea(
        "load_time",
        "Load time",
        "s",
        Kind.GAUGE,
        Group.MODELS,
        pick("nv_model_load_duration_secs"),
        over=Over.MAX,
        split=_MODEL,
    ),
    Idea(
        "gpu_utilization",
        "Busiest GPU",
        "%",
        Kind.GAUGE,
        Group.SERVER,
        pick("nv_gpu_utilization"),
        over=Over.MAX,
        scale=FRACTION_TO_PERCENT,
    ),
    Idea("gpu_memory", "GPU memory", "bytes", Kind.GAUGE, Group.SERVER, pick("nv_gpu_memory_used_bytes")),
    Idea("gpu_power", "GPU power", "W", Kind.GAUGE, Group.SERVER, pick("nv_gpu_power_usage")),
    Idea(
        "cpu",
        "CPU",
        "%",
        Kind.GAUGE,
        Group.SERVER,
        pick("nv_cpu_utilization"),
        over=Over.MAX,
        scale=FRACTION_TO_PERCENT,
    ),
    Idea("cpu_memory", "Host memory", "bytes", Kind.GAUGE, Group.SERVER, pick("nv_cpu_memory_used_bytes")),
    Idea("pinned_memory", "Pinned memory", "bytes", Kind.GAUGE, Group.SERVER, pick("nv_pinned_memory_pool_used_bytes")),
)
