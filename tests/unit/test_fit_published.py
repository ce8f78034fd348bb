"""The estimate against figures that others published: model cards, and log lines of real runs of vLLM."""

from pathlib import Path
from typing import Any

import pytest

from engine.fit.assess import assess
from engine.fit.judge import Judgement, judge
from engine.fit.kv import KvCost, kv_cost
from engine.fit.result import Verdict
from engine.fit.shape import flattened, parameters, shape_of
from engine.fit.values import GIB
from engine.fit.weights import served_dtype, weights
from tests.unit.fit_questions import ask, config_of, loaded


def cost(folder: Path, name: str, options: dict[str, Any] | None = None, batched: int = 2048, **more: Any) -> KvCost:
    model, read = loaded(ask(folder, name, options, **more))
    return kv_cost(model.shape, read, served_dtype(model, read), batched)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        # 2 × 32 layers × 8 heads × 128 × 2 B; 1 952 blocks of 16 tokens in 3.81 GiB: vllm-project/vllm issue 10517
        ("llama-3.1-8b", {}, 131_072),
        ("llama-3.1-8b", {"kv_cache_dtype": "fp8"}, 65_536),
        ("llama-3.1-8b", {"tensor_parallel_size": 2}, 65_536),
        ("llama-3.1-8b", {"dtype": "float32"}, 262_144),
        # 2 × 80 × 8 × 128 × 2 B; "327.680 KB" for Qwen2.5-72B, which has the same layers and heads: the same table as
        # DeepSeek-V3's below
        ("llama-3-70b", {}, 327_680),
        ("llama-3-70b", {"tensor_parallel_size": 8}, 40_960),
        # More GPUs than heads: each head is kept twice
        ("llama-3-70b", {"tensor_parallel_size": 16}, 40_960),
        ("llama-3-70b", {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 81_920),
        # "70.272 KB a token" in "Insights into DeepSeek-V3" (arXiv 2505.09343), table 1; on every GPU alike
        ("deepseek-v3", {}, 70_272),
        ("deepseek-v3", {"tensor_parallel_size": 8}, 70_272),
        ("mixtral-8x7b-gptq", {"dtype": "float16"}, 131_072),
        ("qwen3-30b-a3b", {}, 98_304),
        # Four heads on eight GPUs: one each
        ("qwen3-30b-a3b", {"tensor_parallel_size": 8}, 24_576),
        # 62.00 GiB for 262 144 tokens on one GPU of eight replicas: vllm-project/recipes pull request 12
        ("qwen3-coder-480b-fp8", {"data_parallel_size": 8, "enable_expert_parallel": True}, 253_952),
        # 24.00 GiB for 1 048 576 tokens on eight GPUs: vllm-project/vllm issue 16118
        ("llama-4-scout", {"tensor_parallel_size": 8}, 24_576),
        # Its config.json names a window, and says that it is not used
        ("qwen2.5-7b", {}, 57_344),
        ("smollm2-135m", {}, 23_040),
        # head_dim 128 is not hidden_size / heads (64)
        ("qwen3-0.6b", {}, 114_688),
        # 18 layers that keep everything hold 4 608 MiB for 131 072 tokens: ollama/ollama issue 16480
        ("gpt-oss-120b", {}, 36_864),
        # Of 62 layers every sixth keeps everything: 2 × 10 × 16 × 128 × 2 B (Gemma 3 report, arXiv 2503.19786)
        ("gemma-3-27b", {}, 81_920),
        ("gemma-3-27b", {"disable_hybrid_kv_cache_manager": True}, 507_904),
        # Every second of 42: 2 × 21 × 8 × 256 × 2 B (Gemma 2 report, arXiv 2408.00118)
        ("gemma-2-9b", {}, 172_032),
    ],
)
def test_kv_bytes_a_token(tmp_path: Path, name: str, options: dict[str, Any], expected: int) -> None:
    assert cost(tmp_path, name, options).per_token == expected
    assert assess(ask(tmp_path, name, options)).kv_bytes_per_token == expected


def test_the_longest_request_is_what_vllm_itself_computes(tmp_path: Path) -> None:
    """`the estimated maximum model length is …` for 48.66 and 55.65 GiB: vllm-project/recipes pull request 12."""
    found = cost(tmp_path, "qwen3-coder-480b-fp8", {"data_parallel_size": 8})
    assert found.request(262_144) == 62 * GIB
    for available, longest in ((48.66, 205_728), (55.65, 235_296)):  # its log rounds to hundredths
        assert found.largest(int((available - 0.005) * GIB), 262_144) <= longest
        assert found.largest(int((available + 0.005) * GIB), 262_144) >= longest
    # `# GPU blocks: 1952` for `kv_cache_size=3.81GiB`: vllm-project/vllm issue 10517
    assert cost(tmp_path, "llama-3.1-8b").tokens(int(3.8125 * GIB), 20_000) // 16 == 1952


def test_a_window_bounds_what_its_layers_keep(tmp_path: Path) -> None:
    """Gemma 3: 52 layers with a window, in blocks of 10 layers, so 60 (vLLM's `Add 8 padding layers`)."""
    found = cost(tmp_path, "gemma-3-27b", batched=2048)
    layer = 2 * 16 * 128 * 2
    kept = -(-(1024 - 1 + 2048) // 16) + 1
    assert found.request(131_072) == (131_072 * 10 + kept * 16 * 60) * layer
    assert found.request(131_072) - found.request(65_536) == 65_536 * 10 * layer
    # Before vLLM 0.9.1 all layers kept everything, and TensorRT-LLM's do unless it is given windows.
    assert cost(tmp_path, "gemma-3-27b", version="0.8.5").request(131_072) == 131_072 * 62 * layer
    assert cost(tmp_path, "gemma-3-27b", engine="tensorrt-llm").request(131_072) == 131_072 * 62 * layer
    windows = {"kv_cache_config": {"max_attention_window": [1024, 131_072]}}
    assert cost(tmp_path, "gemma-3-27b", windows, engine="tensorrt-llm").request(131_072) < 20 * GIB


@pytest.mark.parametrize(
    ("name", "billions"),
    # As their model cards state them
    [
        ("llama-3.1-8b", 8.03),
        ("llama-3-70b", 70.6),
        ("mixtral-8x7b-gptq", 46.7),
        ("qwen3-30b-a3b", 30.5),
        ("qwen3-0.6b", 0.6),
        ("qwen2.5-7b", 7.61),
        ("smollm2-135m", 0.135),
        ("gemma-2-9b", 9.24),
        ("gpt-oss-120b", 116.8),
        ("qwen3-coder-480b-fp8", 480),
    ],
)
def test_parameters_by_shape(name: str, billions: float) -> None:
    shape = shape_of(flattened(config_of(name)))
    assert not isinstance(shape, str)
    assert parameters(shape)[0] == pytest.approx(billions * 1e9, rel=0.03)


@pytest.mark.parametrize(
    ("name", "options", "stored", "gigabytes"),
    [
        # meta-llama/Meta-Llama-3-70B-Instruct: 30 safetensors files of 141.1 GB
        ("llama-3-70b", {}, None, 141.1),
        # TheBloke/Mixtral-8x7B-Instruct-v0.1-GPTQ, branch main, 4 bits without groups: 23.81 GB on its page
        ("mixtral-8x7b-gptq", {"dtype": "float16"}, None, 23.81),
        # Qwen/Qwen3-30B-A3B: 61.1 GB; `Model loading took 14.2474 GiB` on each of 4: vllm-project/vllm issue 17469
        ("qwen3-30b-a3b", {}, None, 61.07),
        ("qwen3-30b-a3b", {"tensor_parallel_size": 4}, None, 14.2474 * GIB / 1e9),
        ("qwen3-30b-a3b", {"tensor_parallel_size": 4}, 61_064_245_248, 14.2474 * GIB / 1e9),
        # `model weights take 14.96GiB`, on two GPUs 7.48: vllm-project/vllm pull request 10511
        ("llama-3.1-8b", {}, 16_060_522_496, 14.96 * GIB / 1e9),
        ("llama-3.1-8b", {"tensor_parallel_size": 2}, 16_060_522_496, 7.48 * GIB / 1e9),
        # neuralmagic/Meta-Llama-3.1-70B-Instruct-quantized.w8a8: 67.7229 GiB (vllm-project/vllm pull request 12569)
        ("llama-3-70b", {"quantization": "fp8"}, 141_107_412_992, 67.72 * GIB / 1e9),
    ],
)
def test_weights_of_one_gpu(
    tmp_path: Path, name: str, options: dict[str, Any], stored: int | None, gigabytes: float
) -> None:
    """Within 1 % from files, within 3 % from the shape alone."""
    found = weights(*loaded(ask(tmp_path, name, options, weights=stored)))
    assert found is not None
    middle = (found[0].low + found[0].high) / 2
    assert middle == pytest.approx(gigabytes * 1e9, rel=0.01 if stored else 0.03)


def test_mxfp4_may_take_more_than_its_files(tmp_path: Path) -> None:
    """65.25 GB of files; 64.38 GiB (vllm-project/vllm issue 33155) and 65.97 GiB (issue 23278) loaded."""
    found = weights(*loaded(ask(tmp_path, "gpt-oss-120b", weights=65_248_815_744)))
    assert found is not None
    assert found[0].low < 64.38 * GIB < 65.97 * GIB < found[0].high


def judged(*args: Any, **more: Any) -> Judgement:
    question = ask(*args, **more)
    found = judge(loaded(question)[0], question)
    assert isinstance(found, Judgement)
    return found


@pytest.mark.parametrize(
    ("name", "options", "more", "logged"),
    [
        # Llama 3 8B on an H100: 71.29 GiB usable, 53.29 for KV cache (pull request 10511)
        (
            "llama-3.1-8b",
            {"max_model_len": 8192, "max_num_batched_tokens": 8192, "max_num_seqs": 256},
            {"total": 79.22, "version": "0.6.5", "weights": 16_060_522_496},
            53.29,
        ),
        # Llama 3.1 8B on an RTX 3090, 20 000 tokens computed at once: 3.81 GiB; 29 000: 2.89 (issue 10517)
        (
            "llama-3.1-8b",
            {"max_model_len": 20_000, "max_num_batched_tokens": 20_000, "max_num_seqs": 256},
            {"total": 23.58, "version": "0.6.4", "weights": 16_060_522_496},
            3.81,
        ),
        (
            "llama-3.1-8b",
            {"max_model_len": 29_000, "max_num_batched_tokens": 29_000, "max_num_seqs": 256},
            {"total": 23.58, "version": "0.6.4", "weights": 16_060_522_496},
            2.89,
        ),
        # gpt-oss-120b on an H100: -2.14 GiB by default (issue 23278); at 0.95 with 1 024 tokens 1.71 (issue 27508)
        ("gpt-oss-120b", {}, {"total": 79.19, "version": "0.10.1", "weights": 65_248_815_744}, -2.14),
        (
            "gpt-oss-120b",
            {"gpu_memory_utilization": 0.95, "max_num_batched_tokens": 1024},
            {"total": 79.19, "version": "0.11.0", "weights": 65_248_815_744},
            1.71,
        ),
    ],
)
def test_room_for_kv_cache_against_vllms_own_logs(
    tmp_path: Path, name: str, options: dict[str, Any], more: dict[str, Any], logged: float
) -> None:
    """`Available KV cache memory` within the estimate's range, with 2.5 % of the GPU to spare at either end."""
    found = judged(tmp_path, name, options, **more)
    spare = 0.025 * more["total"] * GIB
    assert found.room.low - spare <= logged * GIB <= found.room.high + spare


def test_what_vllm_refused_does_not_pass_as_fitting(tmp_path: Path) -> None:
    """Llama 3.1 8B with 29 000 tokens on an RTX 3090: 23 648 fitted (vllm-project/vllm issue 10517)."""
    options = {"max_model_len": 29_000, "max_num_batched_tokens": 29_000, "max_num_seqs": 256}
    found = judged(tmp_path, "llama-3.1-8b", options, total=23.58, version="0.6.4", weights=16_060_522_496)
    assert found.verdict in (Verdict.DOES_NOT_FIT, Verdict.TIGHT)
    fits = judged(tmp_path, "llama-3.1-8b", {**options, "max_model_len": 20_000, "max_num_batched_tokens": 20_000},
                  total=23.58, version="0.6.4", weights=16_060_522_496)  # fmt: skip
    assert fits.verdict in (Verdict.FITS, Verdict.TIGHT)
