"""vLLM and its options, its machine and its own processes."""

import json
import shutil
import struct
from pathlib import Path

from tests.samples.recording.room import (
    Impossible,
    Recorded,
    Room,
    case,
    free_port,
    kill_child,
    mounted_tmpfs,
    stop,
    taken_port,
)
from tests.samples.recording.start_vllm import EAGER, READY, serve, tiny

LOADING = r"Starting to load model"
UNBOUND = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Several workers on one NUMA node"""
COMPILER = ("c++", "g++")


def option(room: Room, *options: str) -> Recorded:
    return serve(room, tiny(room), *EAGER, *options)


# Options


@case("an option that this vLLM does not know, by a slip")
def vllm_option_unknown(room: Room) -> Recorded:
    return option(room, "--max-num-sequences", "8")


@case("an option of an older vLLM")
def vllm_option_removed(room: Room) -> Recorded:
    return option(room, "--num-scheduler-steps", "8", "--disable-log-requests")


@case("an option of an older vLLM, with a value of several words")
def vllm_option_guided_decoding_backend(room: Room) -> Recorded:
    return option(room, "--guided-decoding-backend", "outlines")


@case("a dtype that there is not")
def vllm_dtype_unknown(room: Room) -> Recorded:
    return serve(room, tiny(room), "--dtype", "fp16")


@case("a quantization that there is not")
def vllm_quantization_name_unknown(room: Room) -> Recorded:
    return option(room, "--quantization", "int3")


@case("a number that is none")
def vllm_number_invalid(room: Room) -> Recorded:
    return serve(room, tiny(room), "--max-model-len", "lots")


@case("gpu_memory_utilization is over 1")
def vllm_utilization_invalid(room: Room) -> Recorded:
    return option(room, "--gpu-memory-utilization", "90")


@case("max_num_seqs is 0")
def vllm_max_num_seqs_zero(room: Room) -> Recorded:
    return option(room, "--max-num-seqs", "0")


@case("max_num_batched_tokens is below max_model_len, and chunked prefill is off")
def vllm_batched_tokens_too_few(room: Room) -> Recorded:
    return option(room, "--max-num-batched-tokens", "512", "--no-enable-chunked-prefill")


@case("max_num_batched_tokens is below max_num_seqs")
def vllm_batched_tokens_below_seqs(room: Room) -> Recorded:
    return option(room, "--max-num-batched-tokens", "64", "--max-num-seqs", "128")


@case("--compilation-config is no valid JSON")
def vllm_compilation_config_invalid(room: Room) -> Recorded:
    return option(room, "--compilation-config", "{level: 3}")


@case("--compilation-config has a key that there is not")
def vllm_compilation_config_key(room: Room) -> Recorded:
    return option(room, "--compilation-config", '{"levels": 3}')


@case("--hf-overrides is no valid JSON")
def vllm_hf_overrides_invalid(room: Room) -> Recorded:
    return option(room, "--hf-overrides", "{'max_position_embeddings': 4096}")


@case("--speculative-config has no model")
def vllm_speculative_without_model(room: Room) -> Recorded:
    return option(room, "--speculative-config", '{"num_speculative_tokens": 3}')


@case("the draft model's folder does not exist")
def vllm_speculative_model_missing(room: Room) -> Recorded:
    return option(room, "--speculative-config", '{"model": "/models/draft", "num_speculative_tokens": 3}')


@case("a tool call parser that there is not")
def vllm_tool_parser_unknown(room: Room) -> Recorded:
    return option(room, "--enable-auto-tool-choice", "--tool-call-parser", "llama9_json")


@case("automatic tool choice without a parser")
def vllm_tool_parser_not_given(room: Room) -> Recorded:
    return option(room, "--enable-auto-tool-choice")


@case("a reasoning parser that there is not")
def vllm_reasoning_parser_unknown(room: Room) -> Recorded:
    return option(room, "--reasoning-parser", "llama9")


@case("the executor is ray, which is not installed")
def vllm_ray_not_installed(room: Room) -> Recorded:
    return option(room, "--distributed-executor-backend", "ray", "--tensor-parallel-size", "2")


@case("a load format that there is not")
def vllm_load_format_unknown(room: Room) -> Recorded:
    return option(room, "--load-format", "safetensor")


@case("a load format whose package is not installed")
def vllm_load_format_needs_package(room: Room) -> Recorded:
    return option(room, "--load-format", "runai_streamer")


@case("a text model is to make embeddings")
def vllm_runner_pooling(room: Room) -> Recorded:
    return option(room, "--runner", "pooling", "--convert", "reward")


@case("limits for pictures, and the model takes none")
def vllm_multimodal_limit(room: Room) -> Recorded:
    return option(room, "--limit-mm-per-prompt", '{"image": 2')


@case("the file of --config does not exist")
def vllm_config_file_missing(room: Room) -> Recorded:
    return option(room, "--config", "/models/serve.yaml")


@case("the file of --config is no valid YAML")
def vllm_config_file_invalid(room: Room) -> Recorded:
    file = tiny(room).parent / "serve.yaml"
    file.write_text("max-model-len: 1024\n  dtype: [bfloat16\n")
    return serve(room, room.folder / "models/tiny", "--config", str(file))


@case("the tokenizer is another folder, which does not exist")
def vllm_tokenizer_folder_missing(room: Room) -> Recorded:
    return option(room, "--tokenizer", "/models/tokenizer")


@case("the key of --ssl-keyfile does not exist")
def vllm_ssl_key_missing(room: Room) -> Recorded:
    return option(room, "--ssl-keyfile", "/certs/key.pem", "--ssl-certfile", "/certs/cert.pem")


# Several devices


@case("the tensor parallel size does not divide the attention heads")
def vllm_tensor_parallel_heads(room: Room) -> Recorded:
    return option(room, "--tensor-parallel-size", "3")


@case("more ranks than this machine has devices")
def vllm_tensor_parallel_devices(room: Room) -> Recorded:
    return serve(room, tiny(room, num_attention_heads=64, num_key_value_heads=64, head_dim=2), *EAGER, "-tp", "64")


@case("more pipeline stages than layers")
def vllm_pipeline_parallel_layers(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, "--pipeline-parallel-size", "3", env=UNBOUND)


# Memory


@case("the KV cache does not hold one request of max_model_len")
def vllm_kv_cache_too_small(room: Room) -> Recorded:
    model = tiny(room, max_position_embeddings=4_000_000)
    return serve(room, model, "--dtype", "bfloat16", "--max-model-len", "3000000", "--enforce-eager")


@case("the KV cache is to take more memory than there is")
def vllm_kv_cache_over_memory(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, env={"VLLM_CPU_KVCACHE_SPACE": "900"})


@case("the process may not have as much memory as it needs")
def vllm_address_space_limit(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, env={"VLLM_CPU_KVCACHE_SPACE": "4"}, within=("prlimit", "--as=6000000000"))


@case("too few files may be open")
def vllm_open_files(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, within=("prlimit", "--nofile=48:48"))


# Network and disk


@case("the port is taken by another program")
def vllm_port_taken(room: Room) -> Recorded:
    with taken_port() as port:
        return serve(room, tiny(room), *EAGER, port=port)


@case("the address is not of this machine")
def vllm_address_elsewhere(room: Room) -> Recorded:
    return option(room, "--host", "192.0.2.77")


@case("the host's name is not known")
def vllm_host_unknown(room: Room) -> Recorded:
    return option(room, "--host", "no-such-host.invalid")


@case("vLLM's cache is read-only")
def vllm_cache_read_only(room: Room) -> Recorded:
    with mounted_tmpfs(room.folder / "cache/readonly", "1m") as folder:
        room.remount(folder, "ro")
        room.places[str(folder)] = "/cache"
        return _compiled(room, folder)


@case("vLLM's cache is on a full disk")
def vllm_cache_full(room: Room) -> Recorded:
    with mounted_tmpfs(room.folder / "cache/full", "16k") as folder:
        room.places[str(folder)] = "/cache"
        return _compiled(room, folder)


def _compiled(room: Room, cache: Path) -> Recorded:
    if not any(map(shutil.which, COMPILER)):
        raise Impossible("there is no C++ compiler")
    env = {"VLLM_CACHE_ROOT": str(cache / "vllm"), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
    return serve(room, tiny(room), "--dtype", "bfloat16", "--max-model-len", "1024", env=env, ready=READY)


# Its processes


@case("EngineCore was killed while it served")
def vllm_engine_killed_serving(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, ready=READY, then=kill_child("EngineCore"))


@case("EngineCore was killed while it loaded")
def vllm_engine_killed_loading(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, ready=LOADING, then=kill_child("EngineCore"))


@case("good: stopped while it served")
def vllm_stopped(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, ready=READY, then=stop)


# LoRA


def adapter(room: Room, rank: int, modules: tuple[str, ...] = ("q_proj",)) -> Path:
    """An adapter of zeros, for the tiny model."""
    folder = room.folder / "lora/sql"
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": modules, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    header, end = {}, 0
    for layer in range(2):
        for module in modules:
            for letter, shape in (("A", [rank, 128]), ("B", [128, rank])):
                size = 4 * shape[0] * shape[1]
                name = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{letter}.weight"
                header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
                end += size
    packed = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(packed)) + packed + bytes(end))
    return folder


@case("the adapter's rank is above max_lora_rank")
def vllm_lora_rank(room: Room) -> Recorded:
    return option(room, "--enable-lora", "--lora-modules", f"sql={adapter(room, 64)}")


@case("the adapter's folder does not exist")
def vllm_lora_missing(room: Room) -> Recorded:
    return option(room, "--enable-lora", "--lora-modules", "sql=/lora/sql")


@case("an adapter is given, and LoRA is not enabled")
def vllm_lora_not_enabled(room: Room) -> Recorded:
    return option(room, "--lora-modules", f"sql={adapter(room, 8)}")


@case("the adapter is for modules that the model has not")
def vllm_lora_modules(room: Room) -> Recorded:
    return option(room, "--enable-lora", "--lora-modules", f"sql={adapter(room, 8, ('Wqkv',))}")


@case("max_lora_rank is not one of those that there are")
def vllm_lora_rank_invalid(room: Room) -> Recorded:
    return option(room, "--enable-lora", "--max-lora-rank", "12")


# Good starts


@case("good: without compilation")
def vllm_good_eager(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, ready=READY)


@case("good: config.json without architectures, which its model type tells")
def vllm_good_without_architectures(room: Room) -> Recorded:
    return serve(room, tiny(room, architectures=None), *EAGER, ready=READY)


@case("good: compiled")
def vllm_good_compiled(room: Room) -> Recorded:
    if not any(map(shutil.which, COMPILER)):
        raise Impossible("there is no C++ compiler")
    return serve(room, tiny(room), "--dtype", "bfloat16", "--max-model-len", "1024", ready=READY)


@case("good: with a LoRA adapter")
def vllm_good_lora(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, "--enable-lora", "--lora-modules", f"sql={adapter(room, 8)}", ready=READY)


@case("good: two API servers")
def vllm_good_two_api_servers(room: Room) -> Recorded:
    both = rf"(?s)({READY}).*({READY})"
    return serve(room, tiny(room), *EAGER, "--api-server-count", "2", ready=both)


@case("good: two ranks of tensor parallel")
def vllm_good_tensor_parallel(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, "--tensor-parallel-size", "2", env=UNBOUND, ready=READY)


@case("good: two ranks of data parallel")
def vllm_good_data_parallel(room: Room) -> Recorded:
    return serve(room, tiny(room), *EAGER, "--data-parallel-size", "2", env=UNBOUND, ready=READY)


@case("good: the second start after one that failed, in one log")
def vllm_good_after_failure(room: Room) -> Recorded:
    model, port = tiny(room), free_port()
    serve(room, model, "--max-model-len", "32768", port=port)
    return serve(room, model, *EAGER, port=port, ready=READY)


@case("a good start that was stopped, and then one that fails, in one log")
def vllm_failure_after_good(room: Room) -> Recorded:
    model, port = tiny(room), free_port()
    serve(room, model, *EAGER, port=port, ready=READY, then=stop)
    return serve(room, model, "--dtype", "bfloat16", "--tensor-parallel-size", "3", port=port)
