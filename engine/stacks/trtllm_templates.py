"""The parameters of the image's TensorRT-LLM template set, `inflight_batcher_llm`: which there are, and their values.

Names, meanings and which are mandatory: `docs/model_config.md` of triton-inference-server/tensorrtllm_backend and the
config.pbtxt files of `triton_backend/all_models` in NVIDIA/TensorRT-LLM (0.16 to 1.2).
"""

import difflib
from collections.abc import Mapping
from typing import Any

from engine.stacks.context import PlanContext, option_words
from engine.stacks.trtllm_engine import BuiltEngine

FRONT = "ensemble"
BLS = "tensorrt_llm_bls"
CORE = "tensorrt_llm"
"""The model that holds the engine; ranks other than the first load it alone"""

REQUIRED: dict[str, tuple[str, ...]] = {
    "preprocessing": ("tokenizer_dir", "triton_max_batch_size", "preprocessing_instance_count"),
    CORE: ("triton_backend", "triton_max_batch_size", "decoupled_mode", "engine_dir", "batching_strategy"),
    "postprocessing": ("tokenizer_dir", "triton_max_batch_size", "postprocessing_instance_count"),
    BLS: ("triton_max_batch_size", "decoupled_mode", "bls_instance_count"),
    FRONT: ("triton_max_batch_size",),
}
"""Placeholders that each template must have. Not the data types: older templates have them written in"""

_OURS = {
    "engine_dir": "`engines:` names the folder",
    "tokenizer_dir": "`tokenizer:` names it",
    "decoupled_mode": "streaming needs it, so it is always true",
}
_OPTIONAL = """
    accumulate_tokens add_special_tokens batch_scheduler_policy bls_instance_count cancellation_check_period_ms
    cross_kv_cache_fraction cuda_graph_cache_size cuda_graph_mode decoding_mode eagle_choices enable_chunked_context
    enable_context_fmha_fp32_acc enable_kv_cache_reuse enable_trt_overlap encoder_engine_dir
    encoder_input_features_data_type exclude_input_in_output gpu_device_ids gpu_weights_percent guided_decoding_backend
    hf_model_path iter_stats_max_iterations kv_cache_free_gpu_mem_fraction kv_cache_host_memory_bytes
    kv_cache_onboard_blocks logits_datatype lookahead_ngram_size lookahead_verification_set_size lookahead_window_size
    lora_cache_gpu_memory_fraction lora_cache_host_memory_bytes lora_cache_max_adapter_size
    lora_cache_optimal_adapter_size lora_prefetch_dir max_attention_window_size max_beam_width max_num_images
    max_queue_delay_microseconds max_queue_size max_tokens_in_paged_kv_cache medusa_choices multi_block_mode
    multimodal_encoders_name multimodal_model_path normalize_log_probs num_nodes participant_ids
    postprocessing_instance_count preprocessing_instance_count prompt_embedding_table_data_type recv_poll_period_ms
    request_stats_max_iterations sink_token_length skip_special_tokens speculative_decoding_fast_logits
    stats_check_period_ms tensorrt_llm_draft_model_name tensorrt_llm_model_name triton_backend batching_strategy
    triton_max_batch_size visual_model_path xgrammar_tokenizer_info_path
"""
PARAMETERS = frozenset(_OPTIONAL.split())
"""That a profile may set"""

INSTANCES = 5
"""Of the Python models around the engine, fewer for an engine with smaller batches: as the documentation recommends,
since with one of each, requests wait for each other's tokenizer"""
_DETOKENIZERS = "postprocessing_instance_count"


def values(engine: BuiltEngine, engine_dir: str, tokenizer_dir: str, door: str) -> dict[str, Any]:
    """What the placeholders get unless the profile says otherwise. `door`: the model that prompts go to."""
    instances = min(INSTANCES, engine.max_batch_size)
    return {
        "triton_backend": "tensorrtllm",
        "triton_max_batch_size": engine.max_batch_size,
        "decoupled_mode": True,
        "engine_dir": engine_dir,
        "tokenizer_dir": tokenizer_dir,
        "batching_strategy": "inflight_fused_batching",
        "batch_scheduler_policy": "max_utilization",
        "exclude_input_in_output": True,
        "enable_chunked_context": engine.paged_context_fmha,
        "max_queue_delay_microseconds": 0,
        "max_queue_size": 0,
        "logits_datatype": "TYPE_FP32",
        "encoder_input_features_data_type": "TYPE_FP16",
        "prompt_embedding_table_data_type": "TYPE_FP16",
        "preprocessing_instance_count": instances,
        # The ensemble hands a stream's pieces to whichever instance is free, and they overtake each other
        # (tensorrtllm_backend #614, server #8073); the BLS model waits for each.
        _DETOKENIZERS: instances if door == BLS else 1,
        "bls_instance_count": instances,
    }


def check_parameters(context: PlanContext, engine: BuiltEngine, options: Mapping[str, Any], door: str) -> None:
    """Raises `InvalidProfile` for one that is misspelt, not the profile's to set, or more than the engine has.

    One that resembles none is left to the templates of the image, which may be newer than this list.
    """
    for key in options:
        if key in _OURS:
            raise context.invalid(f"`engine: {key}` is not set by hand: {_OURS[key]}.", "Take it out.")
        if key in PARAMETERS:
            continue
        near = difflib.get_close_matches(key, PARAMETERS, n=1, cutoff=0.75)
        if near:
            raise context.invalid(f"`engine` has the unknown parameter `{key}`.", f"Did you mean `{near[0]}`?")
        context.warnings.append(
            f"The parameter `{key}` is not known here; the server starts only if a template of the image has it."
        )
    for key, limit in (("triton_max_batch_size", engine.max_batch_size), ("max_beam_width", engine.max_beam_width)):
        value = options.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise context.invalid(f"`engine: {key}` is {value!r}, no whole number from 1.", "Correct it.")
        if value > limit:
            raise context.invalid(
                f"`engine: {key}` is {value}, and the engine was built for at most {limit}.",
                f"Set it to {limit} at most, or build the engine for more.",
            )
    if options.get(_DETOKENIZERS, 1) != 1 and door != BLS:
        context.warnings.append(
            f"With `{_DETOKENIZERS}: {options[_DETOKENIZERS]}` the pieces of a streamed answer come out of order."
            f" Leave it at 1, or serve by `served_model_name: {BLS}`."
        )


def written(options: Mapping[str, Any]) -> dict[str, str]:
    """Values as a config.pbtxt takes them; a list as `1,2`. Raises `InvalidProfile` for one without a value."""
    return {
        key: ",".join(option_words(key, item) for item in value)
        if isinstance(value, list)
        else option_words(key, value)
        for key, value in options.items()
    }


def in_template_words(options: Mapping[str, Any]) -> dict[str, Any]:
    """The LLM API's `kv_cache_config: {free_gpu_memory_fraction: …}` by the templates' own name."""
    cache = options.get("kv_cache_config")
    if not isinstance(cache, dict) or cache.keys() != {"free_gpu_memory_fraction"}:
        return dict(options)
    rest = {key: value for key, value in options.items() if key != "kv_cache_config"}
    return {"kv_cache_free_gpu_mem_fraction": cache["free_gpu_memory_fraction"], **rest}
