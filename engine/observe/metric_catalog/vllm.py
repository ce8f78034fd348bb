"""vLLM's metrics, of its own server and of Triton's vLLM backend.

Names and what they mean: vLLM's `vllm/v1/metrics/loggers.py` (V1) and `vllm/engine/metrics.py` (V0, to 0.10), and
`src/utils/metrics.py` of Triton's vllm_backend, which reports some of them with labels of its own.
"""

from engine.metrics_reading import Group
from engine.observe.metric_catalog.idea import FRACTION_TO_PERCENT, Idea, Kind, Over, Pick, Split, pick, quantiles

_REQUESTS, _LATENCY, _TOKENS, _CACHE, _ENGINE = (
    Group.REQUESTS,
    Group.LATENCY,
    Group.TOKENS,
    Group.CACHE,
    Group.ENGINE,
)
_FINISHED = ("vllm:request_success",)
_DRAFTED = pick("vllm:spec_decode_num_draft_tokens")
_ACCEPTED = pick("vllm:spec_decode_num_accepted_tokens")

VLLM: tuple[Idea, ...] = (
    Idea("running", "Running", "", Kind.GAUGE, _REQUESTS, pick("vllm:num_requests_running")),
    Idea("waiting", "Waiting", "", Kind.GAUGE, _REQUESTS, pick("vllm:num_requests_waiting")),
    Idea("swapped", "Swapped out", "", Kind.GAUGE, _REQUESTS, pick("vllm:num_requests_swapped")),
    Idea(
        "requests",
        "Finished",
        "req/s",
        Kind.RATE,
        _REQUESTS,
        (Pick(_FINISHED, "finished_reason", but=("abort", "error")),),
    ),
    Idea(
        "failures",
        "Failed",
        "req/s",
        Kind.RATE,
        _REQUESTS,
        (
            Pick(_FINISHED, "finished_reason", only=("error",)),
            Pick(("vllm:admission_rejections",), "reason"),
            Pick(("vllm:corrupted_requests",), reason="corrupted"),
        ),
        split=(Split.REASON,),
    ),
    Idea(
        "cancelled",
        "Cancelled",
        "req/s",
        Kind.RATE,
        _REQUESTS,
        (Pick(_FINISHED, "finished_reason", only=("abort",)),),
    ),
    *quantiles("ttft", "TTFT", "s", _LATENCY, "vllm:time_to_first_token_seconds"),
    *quantiles(
        "itl", "Inter-token", "s", _LATENCY, "vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"
    ),
    *quantiles("e2e", "End to end", "s", _LATENCY, "vllm:e2e_request_latency_seconds"),
    *quantiles("queue", "Queue", "s", _LATENCY, "vllm:request_queue_time_seconds"),
    *quantiles("prefill", "Prefill", "s", _LATENCY, "vllm:request_prefill_time_seconds"),
    *quantiles("decode", "Decode", "s", _LATENCY, "vllm:request_decode_time_seconds"),
    Idea("prompt", "Prompt", "tok/s", Kind.RATE, _TOKENS, pick("vllm:prompt_tokens")),
    Idea("generation", "Generated", "tok/s", Kind.RATE, _TOKENS, pick("vllm:generation_tokens")),
    Idea(
        "kv_cache",
        "KV cache",
        "%",
        Kind.GAUGE,
        _CACHE,
        pick("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        over=Over.MAX,
        scale=FRACTION_TO_PERCENT,
    ),
    Idea("preemptions", "Preemptions", "/s", Kind.RATE, _CACHE, pick("vllm:num_preemptions")),
    Idea(
        "prefix_hits",
        "Prefix cache hits",
        "%",
        Kind.RATIO,
        _CACHE,
        pick("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"),
        per=pick("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"),
        scale=FRACTION_TO_PERCENT,
    ),
    Idea(  # V0 computes it itself, over the last thousand queries; -1 while there were none
        "prefix_hits",
        "Prefix cache hits",
        "%",
        Kind.GAUGE,
        _CACHE,
        pick("vllm:gpu_prefix_cache_hit_rate"),
        over=Over.MAX,
        scale=FRACTION_TO_PERCENT,
        least=0.0,
    ),
    Idea(
        "spec_accepted",
        "Drafts accepted",
        "%",
        Kind.RATIO,
        _ENGINE,
        _ACCEPTED,
        per=_DRAFTED,
        scale=FRACTION_TO_PERCENT,
    ),
    Idea(  # a draft's step yields one token even when none of it is accepted
        "spec_length",
        "Accepted length",
        "tok",
        Kind.RATIO,
        _ENGINE,
        _ACCEPTED,
        per=pick("vllm:spec_decode_num_drafts"),
        offset=1.0,
    ),
    Idea(  # vLLM puts a new label set each time, with the time as its value
        "lora",
        "LoRA adapters",
        "",
        Kind.WORD,
        _ENGINE,
        pick("vllm:lora_requests_info"),
        labels=("running_lora_adapters", "waiting_lora_adapters"),
        words={"": "none in use"},
    ),
    Idea(
        "sleep",
        "Sleep",
        "",
        Kind.WORD,
        _ENGINE,
        pick("vllm:engine_sleep_state"),
        labels=("sleep_state",),
        words={"weights_offloaded": "asleep, weights in host memory", "discard_all": "asleep, weights discarded"},
    ),
)
