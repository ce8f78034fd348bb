"""Where a model's numbers are found, and that no file can do harm."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine.fit import files
from engine.fit.assess import assess
from engine.fit.question import FitQuestion, GpuMemory
from engine.fit.result import Verdict
from engine.fit.values import GIB
from tests.unit.fit_questions import NOWHERE, config_of, folder_of


def hub(cache: Path, name: str, revision: str, config: dict[str, Any], weights: dict[str, int]) -> Path:
    """A repository as huggingface_hub lays it out: snapshots of links to blobs."""
    home = cache / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / revision
    (home / "blobs").mkdir(parents=True, exist_ok=True)
    snapshot.mkdir(parents=True)
    (home / "blobs" / f"c{revision}").write_text(json.dumps(config), encoding="utf-8")
    (snapshot / "config.json").symlink_to(f"../../blobs/c{revision}")
    for number, (file, size) in enumerate(weights.items()):
        blob = home / "blobs" / f"w{revision}{number}"
        with blob.open("wb") as opened:
            os.truncate(opened.fileno(), size)
        (snapshot / file).symlink_to(f"../../blobs/{blob.name}")
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(revision, encoding="ascii")
    return snapshot


def in_hub(cache: Path, name: str, options: dict[str, Any] | None = None) -> FitQuestion:
    return FitQuestion("vllm", options or {}, cache, model=name, gpus=(GpuMemory(24 * GIB),), gpu_count=1)


def weights_of(fit: Any) -> int:
    return int(fit.rows[0].low)


def test_a_repository_in_the_cache(tmp_path: Path) -> None:
    hub(tmp_path, "Qwen/Qwen3-0.6B", "abc123", config_of("qwen3-0.6b"), {"model.safetensors": 1_503_300_328})
    fit = assess(in_hub(tmp_path, "Qwen/Qwen3-0.6B"))
    assert fit.verdict is Verdict.FITS
    assert fit.source == "the Hugging Face cache"
    assert weights_of(fit) == 1_503_300_328
    assert fit.rows[0].note.startswith("1.4 GiB 1 .safetensors file")


def test_the_revision_that_is_served(tmp_path: Path) -> None:
    hub(tmp_path, "a/b", "old", config_of("qwen3-0.6b"), {"model.safetensors": 1000})
    hub(tmp_path, "a/b", "new", config_of("qwen3-0.6b"), {"model.safetensors": 2000})
    assert weights_of(assess(in_hub(tmp_path, "a/b"))) == 2000
    assert weights_of(assess(in_hub(tmp_path, "a/b", {"revision": "old"}))) == 1000
    (tmp_path / "models--a--b" / "refs" / "main").unlink()
    assert weights_of(assess(in_hub(tmp_path, "a/b"))) in (1000, 2000)


@pytest.mark.parametrize("name", ["../secret", "a/../b", "a/b/c", "", "/etc", "a\0b", "ä/b"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    assert files.snapshot(tmp_path, name) is None
    assert files.snapshot(tmp_path, "a/b", name) is None


def test_weights_in_the_order_of_their_worth(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", config_of("qwen3-0.6b"))
    assert files.weights(folder) is None
    (folder / "pytorch_model-00001-of-00002.bin").write_bytes(b"x" * 700)
    (folder / "pytorch_model-00002-of-00002.bin").write_bytes(b"x" * 300)
    (folder / "training_args.bin").write_bytes(b"x" * 5000)
    assert files.weights(folder) == (1000, "2 .bin files")
    (folder / "model.safetensors").write_bytes(b"x" * 900)
    (folder / "consolidated.safetensors").write_bytes(b"x" * 900)
    assert files.weights(folder) == (900, "1 .safetensors file")
    folder_of(folder, config_of("qwen3-0.6b"), 880)
    assert files.weights(folder) == (880, files.INDEX)


@pytest.mark.parametrize("size", [True, -5, 0, "141", None, 1e300, float("inf"), [1]])
def test_an_index_that_makes_no_sense(tmp_path: Path, size: object) -> None:
    folder = folder_of(tmp_path / "m", config_of("qwen3-0.6b"))
    (folder / files.INDEX).write_text(json.dumps({"metadata": {"total_size": size}}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"x" * 900)
    assert files.weights(folder) == (900, "1 .safetensors file")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"num_hidden_layers": ' + "9" * 5000 + "}",
        "\xff\xfe",
        "{}",
        '{"num_hidden_layers": 1e400, "num_attention_heads": NaN}',
    ],
)
def test_a_hostile_config_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    fit = assess(FitQuestion("vllm", {}, NOWHERE, folder=tmp_path, gpus=(GpuMemory(GIB),), gpu_count=1))
    assert fit.verdict is Verdict.UNKNOWN
    assert fit.summary.endswith(".")
    assert "`fit.model`" in fit.advice[0]


def test_a_config_that_is_too_large_or_no_file(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        os.truncate(file.fileno(), files.MAX_CONFIG_BYTES + 1)
    question = FitQuestion("vllm", {}, NOWHERE, folder=tmp_path, gpus=(GpuMemory(GIB),), gpu_count=1)
    assert "larger than 8 MiB" in assess(question).summary
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "config.json")  # to read it would wait for ever
    assert assess(question).verdict is Verdict.UNKNOWN


def test_a_checkpoint_of_32_bits_is_served_in_16(tmp_path: Path) -> None:
    """vLLM's `Downcasting torch.float32 to torch.bfloat16.`"""
    config = {**config_of("llama-3.1-8b"), "torch_dtype": "float32"}
    folder = folder_of(tmp_path / "m", config, 32_121_044_992)
    question = FitQuestion("vllm", {}, NOWHERE, folder=folder, gpus=(GpuMemory(80 * GIB),), gpu_count=1)
    assert weights_of(assess(question)) == 16_060_522_496
    assert assess(question).kv_bytes_per_token == 131_072


def prebuilt(folder: Path, options: dict[str, Any], gpus: int, total: int = 80) -> FitQuestion:
    return FitQuestion(
        "tensorrt-llm", options, NOWHERE, engines=folder, gpus=(GpuMemory(total * GIB),) * gpus, gpu_count=gpus
    )


def test_a_prebuilt_engine(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "engine", config_of("tensorrt-llm-llama-3-8b-tp2"))
    for rank, size in enumerate((5_000_000_000, 5_100_000_000)):
        with (folder / f"rank{rank}.engine").open("wb") as file:
            os.truncate(file.fileno(), size)
    fit = assess(prebuilt(folder, {"kv_cache_free_gpu_mem_fraction": 0.9}, gpus=2))
    assert fit.verdict is Verdict.FITS
    assert fit.source == "the engine's folder"
    assert weights_of(fit) == 5_100_000_000
    # 2 × 32 layers × 4 of 8 heads × 128 × 1 B: its KV cache is FP8
    assert fit.kv_bytes_per_token == 32_768
    few = assess(prebuilt(folder, {}, gpus=1))
    assert few.verdict is Verdict.DOES_NOT_FIT
    assert "build the engine for fewer" in few.summary
    assert assess(prebuilt(tmp_path / "none", {}, gpus=2)).verdict is Verdict.UNKNOWN


def test_trtllm_takes_a_share_of_what_is_free_after_the_load(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "m", config_of("llama-3.1-8b"), 16_060_522_496)
    gpus = (GpuMemory(80 * GIB, 10 * GIB),)
    options = {"max_seq_len": 8192, "kv_cache_config": {"free_gpu_memory_fraction": 0.5}}
    question = FitQuestion("tensorrt-llm", options, NOWHERE, folder=folder, gpus=gpus, gpu_count=1)
    fit = assess(question)
    free = 70 * GIB - fit.rows[0].high - fit.rows[2].high
    assert fit.kv_tokens == pytest.approx(free * 0.5 / 131_072, abs=32)
    capped = {"max_seq_len": 8192, "kv_cache_config": {"max_tokens": 10_000}}
    question = FitQuestion("tensorrt-llm", capped, NOWHERE, folder=folder, gpus=gpus, gpu_count=1, concurrency=2)
    fit = assess(question)
    assert fit.kv_tokens == 9_984  # whole blocks of 32
    assert fit.verdict is Verdict.TIGHT


def test_layers_with_a_constant_state_are_said_to_be_left_out(tmp_path: Path) -> None:
    config = {**config_of("qwen3-30b-a3b"), "full_attention_interval": 4}
    folder = folder_of(tmp_path / "m", config)
    fit = assess(FitQuestion("vllm", {}, NOWHERE, folder=folder, gpus=(GpuMemory(80 * GIB),), gpu_count=1))
    assert fit.kv_bytes_per_token == 12 * 2048
    assert "without the constant state of 36 layers" in fit.rows[1].note
