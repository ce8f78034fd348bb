"""What the fit says: verdicts, the table, what to change."""

from pathlib import Path
from typing import Any

import pytest

from engine.fit.assess import assess
from engine.fit.question import FitQuestion, GpuMemory
from engine.fit.reserve import RESERVED, with_reserve
from engine.fit.result import Fit, Verdict
from engine.fit.values import GIB
from engine.profile import ModelNumbers
from tests.unit.fit_questions import NOWHERE, ask

LLAMA_8B, LLAMA_70B = 16_060_522_496, 141_107_412_992
UNTOLD = Fit(Verdict.UNKNOWN, "")


def said(fit: Fit) -> str:
    return "\n".join(fit.advice)


def row(fit: Fit, title: str) -> tuple[int, int]:
    return next((found.low, found.high) for found in fit.rows if found.title == title)


def test_a_model_that_fits_with_its_table(tmp_path: Path) -> None:
    options = {"tensor_parallel_size": 4, "gpu_memory_utilization": 0.85, "max_model_len": 8192}
    fit = assess(ask(tmp_path, "llama-3-70b", options, total=79.6, used=0.6, gpus=4, concurrency=8, weights=LLAMA_70B))
    assert fit.verdict is Verdict.FITS
    assert fit.advice == ()
    assert [found.title for found in fit.rows] == [
        "weights",
        "KV cache",
        "activations and graphs",
        "in use already",
        "left",
    ]
    assert row(fit, "weights") == (LLAMA_70B // 4,) * 2
    assert row(fit, "KV cache") == (8 * 8192 * 81_920,) * 2
    held = [found for found in fit.rows if found.title != "left"]
    total = int(79.6 * GIB)
    assert row(fit, "left") == (total - sum(one.high for one in held), total - sum(one.low for one in held))
    assert fit.budget == -(-total * 85 // 100)
    assert fit.smallest_tensor_parallel == 4
    assert fit.largest_max_model_len == 8192


def test_a_longest_request_that_has_no_room(tmp_path: Path) -> None:
    fit = assess(ask(tmp_path, "llama-3.1-8b", total=24, weights=LLAMA_8B, version="0.11.0"))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "131 072 tokens" in fit.summary
    assert fit.largest_max_model_len
    assert f"`max_model_len: {fit.largest_max_model_len}`" in said(fit)
    assert fit.largest_max_model_len % 16 == 0
    assert "`tensor_parallel_size: 2` with `gpus: 2`" in said(fit)


def test_fewer_requests_at_once_than_wished(tmp_path: Path) -> None:
    fit = assess(ask(tmp_path, "llama-3.1-8b", {"max_model_len": 16384}, total=24, concurrency=8, weights=LLAMA_8B))
    assert fit.verdict is Verdict.TIGHT
    assert fit.summary.startswith("3 of the 8 wished requests of 16 384 tokens fit at once")


def test_weights_that_are_too_large(tmp_path: Path) -> None:
    fit = assess(ask(tmp_path, "llama-3-70b", {"tensor_parallel_size": 2}, total=48, gpus=2, weights=LLAMA_70B))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "Weights (65.7 GiB a GPU)" in fit.summary
    assert said(fit) == "`tensor_parallel_size: 4` with `gpus: 4` fits: the smallest that does."
    assert fit.smallest_tensor_parallel == 4


def test_the_cpu_holds_part_of_the_weights(tmp_path: Path) -> None:
    whole = assess(ask(tmp_path, "llama-3.1-8b", total=24, weights=LLAMA_8B))
    part = assess(ask(tmp_path, "llama-3.1-8b", {"cpu_offload_gb": 10}, total=24, weights=LLAMA_8B))
    assert row(whole, "weights")[0] - row(part, "weights")[0] == 10 * GIB


def test_a_size_that_does_not_divide_the_heads(tmp_path: Path) -> None:
    fit = assess(ask(tmp_path, "llama-3-70b", {"tensor_parallel_size": 3}, total=80, gpus=3))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "1, 2, 4, 8, 16, 32, 64 do" in fit.summary
    assert "`tensor_parallel_size: 4` with `gpus: 4`" in said(fit)
    # 9 attention heads and 3 key-value heads
    odd = assess(ask(tmp_path, "smollm2-135m", {"tensor_parallel_size": 2}, total=24, gpus=2))
    assert "1, 3, 9 do" in odd.summary


@pytest.mark.parametrize("known", [79.6, None])
def test_more_ranks_than_gpus(tmp_path: Path, known: float | None) -> None:
    options = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
    fit = assess(ask(tmp_path, "llama-3-70b", options, total=known, gpus=4))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "needs 8 GPUs (tensor_parallel_size 4 × pipeline_parallel_size 2) and gets 4: set `gpus` to 8" in fit.summary


def test_beyond_the_models_limit(tmp_path: Path) -> None:
    """As vLLM refuses: `User-specified max_model_len (…) is greater than the derived max_model_len`."""
    question = ask(tmp_path, "llama-3-70b", {"tensor_parallel_size": 4, "max_model_len": 9000}, total=80, gpus=4)
    fit = assess(question)
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "8 192" in fit.summary
    assert "VLLM_ALLOW_LONG_MAX_MODEL_LEN" in fit.summary
    assert "`max_model_len: 8192`" in said(fit)
    allowed = {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}
    forced = ask(tmp_path, "llama-3-70b", question.options, total=80, gpus=4, env=allowed)
    assert assess(forced).verdict is Verdict.FITS
    scaled = {**question.options, "hf_overrides": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}}
    assert assess(ask(tmp_path, "llama-3-70b", scaled, total=80, gpus=4)).verdict is Verdict.FITS


def test_vllm_asks_for_a_share_of_all_memory_however_much_is_in_use(tmp_path: Path) -> None:
    fit = assess(ask(tmp_path, "llama-3.1-8b", {"max_model_len": 8192}, total=80, used=30, version="0.11.0"))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "vLLM asks for 72.0 GiB of each GPU at its start" in fit.summary
    assert "50.0 GiB are free: it would refuse to start" in fit.summary
    assert fit.gpu_memory_utilization is not None
    assert fit.gpu_memory_utilization <= 50 / 80
    assert f"`gpu_memory_utilization: {fit.gpu_memory_utilization:g}`" in said(fit)
    # TensorRT-LLM takes a share of what is free.
    other = ask(tmp_path, "llama-3.1-8b", {"max_seq_len": 8192}, total=80, used=30, engine="tensorrt-llm")
    assert assess(other).verdict is Verdict.FITS


def test_a_share_that_is_too_small(tmp_path: Path) -> None:
    options = {"gpu_memory_utilization": 0.2, "max_model_len": 8192}
    fit = assess(ask(tmp_path, "llama-3.1-8b", options, total=80, weights=LLAMA_8B))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "`gpu_memory_utilization: 0.27` makes it fit." in said(fit)
    assert "`kv_cache_dtype: fp8`" in said(fit)


def test_the_default_share_and_the_place_of_the_graphs_follow_the_version(tmp_path: Path) -> None:
    old = assess(ask(tmp_path, "llama-3.1-8b", total=80, version="0.19.1"))
    new = assess(ask(tmp_path, "llama-3.1-8b", total=80, version="0.22.1"))
    assert (old.budget, new.budget) == (72 * GIB, -(-80 * GIB * 92 // 100))
    assert row(old, "activations and graphs") == row(new, "activations and graphs")
    stated = {"gpu_memory_utilization": 0.9}
    within = assess(ask(tmp_path, "llama-3.1-8b", stated, total=80, version="0.22.1")).kv_tokens
    outside = assess(ask(tmp_path, "llama-3.1-8b", stated, total=80, version="0.19.1")).kv_tokens
    assert within
    assert outside
    assert within < outside
    eager = assess(ask(tmp_path, "llama-3.1-8b", {**stated, "enforce_eager": True}, total=80, version="0.22.1"))
    assert eager.kv_tokens == outside


def test_kv_cache_memory_bytes_overrides_the_share(tmp_path: Path) -> None:
    options = {"kv_cache_memory_bytes": 4 * GIB, "gpu_memory_utilization": 0.99, "max_model_len": 8192}
    fit = assess(ask(tmp_path, "llama-3.1-8b", options, total=80, used=40, weights=LLAMA_8B))
    assert fit.verdict is Verdict.FITS
    assert fit.kv_tokens == 32_768
    small = {**options, "kv_cache_memory_bytes": GIB // 2}
    fit = assess(ask(tmp_path, "llama-3.1-8b", small, total=80, used=40, weights=LLAMA_8B))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert f"`kv_cache_memory_bytes: {GIB}`" in said(fit)


@pytest.mark.parametrize("length", [-1, "auto"])
def test_a_length_that_the_engine_chooses(tmp_path: Path, length: int | str) -> None:
    fit = assess(ask(tmp_path, "llama-3.1-8b", {"max_model_len": length}, total=24, weights=LLAMA_8B))
    assert fit.verdict is Verdict.FITS
    assert fit.largest_max_model_len
    assert fit.largest_max_model_len < 131_072


def test_adapters_have_a_line_of_their_own(tmp_path: Path) -> None:
    options = {"enable_lora": True, "max_loras": 2, "max_lora_rank": 16}
    low, high = row(assess(ask(tmp_path, "smollm2-135m", options, total=24)), "LoRA adapters")
    attention = 30 * 2 * 16 * 2 * (4 * 576 + 2 * 576 + 2 * 192)
    assert low == attention
    assert high == attention + 30 * 2 * 16 * 2 * 3 * (576 + 1536)


def test_pipeline_parallelism_splits_layers(tmp_path: Path) -> None:
    options = {"pipeline_parallel_size": 3, "max_model_len": 8192}
    fit = assess(ask(tmp_path, "llama-3-70b", options, total=80, gpus=3, weights=LLAMA_70B))
    table = 128_256 * 8192 * 2
    assert row(fit, "weights")[0] == pytest.approx((LLAMA_70B - 2 * table) * 27 / 80 + table, rel=1e-6)
    assert fit.kv_bytes_per_token == 27 * 4096


def test_replicas_of_a_mixture_share_its_experts(tmp_path: Path) -> None:
    together = {"data_parallel_size": 8, "max_model_len": 8192}
    fit = assess(ask(tmp_path, "deepseek-v3", together, total=139.8, gpus=8))
    assert fit.verdict is Verdict.FITS
    assert 85 * GIB < row(fit, "weights")[0] < row(fit, "weights")[1] < 110 * GIB


def test_the_fullest_gpu_decides(tmp_path: Path) -> None:
    question = ask(tmp_path, "llama-3.1-8b", {"tensor_parallel_size": 2, "max_model_len": 8192}, total=80, gpus=2)
    mixed = FitQuestion(
        "vllm",
        question.options,
        NOWHERE,
        folder=question.folder,
        gpus=(GpuMemory(80 * GIB), GpuMemory(80 * GIB, 20 * GIB)),
        gpu_count=2,
    )
    assert assess(question).verdict is Verdict.FITS
    fit = assess(mixed)
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert row(fit, "in use already") == (20 * GIB, 20 * GIB)


@pytest.mark.parametrize("reserve", [*RESERVED.values(), 0.05])
def test_what_is_reserved_stays_free(tmp_path: Path, reserve: float) -> None:
    """The options that `with_reserve` makes never take more of a GPU than they may, by the upper end of all ranges."""
    for engine, length in (("vllm", "max_model_len"), ("tensorrt-llm", "max_seq_len")):
        options: dict[str, Any] = {length: 2048}
        before = assess(ask(tmp_path, "smollm2-135m", options, total=24, reserve=reserve, engine=engine))  # type: ignore[arg-type]
        for chosen in (
            with_reserve(engine, options, reserve, UNTOLD),  # type: ignore[arg-type]
            with_reserve(engine, options, reserve, before),  # type: ignore[arg-type]
        ):
            fit = assess(ask(tmp_path, "smollm2-135m", chosen, total=24, reserve=reserve, engine=engine))  # type: ignore[arg-type]
            assert fit.verdict is Verdict.FITS, (engine, chosen, fit.summary)
            assert fit.budget
            assert fit.budget <= (1 - reserve) * 24 * GIB


def test_the_options_with_a_reserve() -> None:
    assert with_reserve("vllm", {"seed": 1}, 0.0, UNTOLD) == {"seed": 1}
    assert with_reserve("vllm", {"seed": 1}, 0.5, UNTOLD) == {"seed": 1, "gpu_memory_utilization": 0.45}
    assert with_reserve("vllm", {}, 0.05, UNTOLD) == {"gpu_memory_utilization": 0.9}
    assert with_reserve("vllm", {}, 0.99, UNTOLD) == {"gpu_memory_utilization": 0.01}
    for stated in ({"gpu_memory_utilization": 0.9}, {"kv_cache_memory_bytes": GIB}):
        assert with_reserve("vllm", stated, 0.5, UNTOLD) == stated
    options = {"kv_cache_config": {"dtype": "fp8"}}
    chosen = with_reserve("tensorrt-llm", options, 0.5, UNTOLD)
    assert chosen == {"kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.25}}
    assert options == {"kv_cache_config": {"dtype": "fp8"}}
    for fixed in ({"kv_cache_free_gpu_mem_fraction": 0.9}, {"kv_cache_config": {"free_gpu_memory_fraction": 0.9}}):
        assert with_reserve("tensorrt-llm", fixed, 0.5, UNTOLD) == fixed


def test_a_share_that_leaves_less_than_is_reserved(tmp_path: Path) -> None:
    options = {"gpu_memory_utilization": 0.9, "max_model_len": 8192}
    fit = assess(ask(tmp_path, "llama-3.1-8b", options, total=80, reserve=0.5, weights=LLAMA_8B))
    assert fit.verdict is Verdict.DOES_NOT_FIT
    assert "50% are reserved" in fit.summary
    assert fit.gpu_memory_utilization is not None
    assert fit.gpu_memory_utilization < 0.5
    assert f"`gpu_memory_utilization: {fit.gpu_memory_utilization:g}` leaves enough free." in said(fit)
    assert row(fit, "reserved for another job") == (40 * GIB, 40 * GIB)


def test_the_other_job_may_be_running_already(tmp_path: Path) -> None:
    options = with_reserve("vllm", {"max_model_len": 8192}, 0.5, UNTOLD)
    question = ask(tmp_path, "llama-3.1-8b", options, total=80, used=38, reserve=0.5, weights=LLAMA_8B)
    fit = assess(question)
    assert fit.verdict is Verdict.FITS
    assert row(fit, "reserved for another job") == (2 * GIB, 2 * GIB)


def test_a_model_that_nobody_knows(tmp_path: Path) -> None:
    fit = assess(FitQuestion("vllm", {}, tmp_path, model="meta-llama/Llama-3.1-8B", gpus=(GpuMemory(80 * GIB),)))
    assert fit.verdict is Verdict.UNKNOWN
    assert "meta-llama/Llama-3.1-8B" in fit.summary
    assert "`fit.model`" in said(fit)


def test_gpus_that_nobody_knows(tmp_path: Path) -> None:
    fit = assess(ask(tmp_path, "llama-3.1-8b", {"max_model_len": 8192}))
    assert fit.verdict is Verdict.UNKNOWN
    assert fit.kv_bytes_per_token == 131_072
    assert [found.title for found in fit.rows] == ["weights", "KV cache", "activations and graphs"]
    assert "`fit.gpu_memory`" in said(fit)


def test_numbers_from_the_profile(tmp_path: Path) -> None:
    numbers = ModelNumbers(
        parameters=30.5, num_hidden_layers=48, num_attention_heads=32, num_key_value_heads=4, head_dim=128,
        hidden_size=2048, vocab_size=151936, max_position_embeddings=262144,
    )  # fmt: skip
    question = FitQuestion(
        "vllm",
        {"tensor_parallel_size": 8, "max_model_len": 65536, "max_num_seqs": 64, "gpu_memory_utilization": 0.85},
        tmp_path,
        model="Qwen/Qwen3-30B-A3B-Thinking-2507",
        numbers=numbers,
        gpus=(GpuMemory(24 * GIB),) * 8,
        gpu_count=8,
        concurrency=4,
    )
    fit = assess(question)
    assert fit.verdict is Verdict.FITS
    assert fit.source == "the profile"
    assert fit.kv_bytes_per_token == 24_576
    assert row(fit, "weights")[0] == pytest.approx(61e9 / 8, rel=0.01)


def test_numbers_win_over_files(tmp_path: Path) -> None:
    numbers = ModelNumbers(num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, weights=GIB)
    fit = assess(ask(tmp_path, "llama-3.1-8b", {"max_model_len": 1024}, total=24, numbers=numbers, weights=LLAMA_8B))
    assert fit.kv_bytes_per_token == 65_536
    assert row(fit, "weights") == (GIB, GIB)
    windows = ModelNumbers(
        num_hidden_layers=36, num_attention_heads=64, num_key_value_heads=8, head_dim=64,
        sliding_window=128, full_attention_layers=12,
    )  # fmt: skip
    assert assess(ask(tmp_path, "gpt-oss-120b", total=80, numbers=windows)).kv_bytes_per_token == 12 * 2048
    latent = ModelNumbers(
        num_hidden_layers=61, num_attention_heads=128, kv_lora_rank=512, qk_rope_head_dim=64, head_dim=128, weights=GIB
    )
    assert assess(ask(tmp_path, "llama-3.1-8b", total=80, numbers=latent)).kv_bytes_per_token == 70_272


def test_more_gpus_are_named_when_requests_would_wait(tmp_path: Path) -> None:
    options = {"tensor_parallel_size": 2, "max_model_len": 8192}
    fit = assess(ask(tmp_path, "llama-3-70b", options, total=79.6, gpus=2, concurrency=16, weights=LLAMA_70B))
    assert fit.verdict is Verdict.TIGHT
    assert "`tensor_parallel_size: 4` with `gpus: 4` fits" in said(fit)
    options["tensor_parallel_size"] = 4
    fit = assess(ask(tmp_path, "llama-3-70b", options, total=42, gpus=4, concurrency=16, weights=LLAMA_70B))
    assert fit.verdict is Verdict.TIGHT
    assert "`tensor_parallel_size: 2`" not in said(fit)
