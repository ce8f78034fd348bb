"""What holds for every question: it is answered, more is never less, and every number that is advised does fit."""

import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.fit.assess import assess
from engine.fit.question import EngineKind, FitQuestion, GpuMemory
from engine.fit.result import Fit, Verdict
from engine.fit.values import GIB
from tests.unit.fit_questions import NOWHERE, SAMPLES, config_of

MODELS = sorted(path.stem for path in SAMPLES.glob("*.json") if not path.stem.startswith("tensorrt"))
ADVISED = re.compile(r"`([a-z_.]+): ([\w.]+)`")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("models")
    for name in MODELS:
        (home / name).mkdir()
        (home / name / "config.json").write_text(json.dumps(config_of(name)), encoding="utf-8")
    return home


def questions(engine: EngineKind) -> st.SearchStrategy[dict[str, Any]]:
    lengths = st.integers(64, 200_000)
    share = st.integers(5, 99).map(lambda hundredths: hundredths / 100)
    options: dict[str, st.SearchStrategy[Any]] = {"tensor_parallel_size": st.sampled_from([1, 2, 3, 4, 8, 16])}
    if engine == "vllm":
        options |= {
            "max_model_len": lengths | st.sampled_from([-1, "auto", "32k", None]),
            "gpu_memory_utilization": share,
            "kv_cache_memory_bytes": st.integers(1, 1 << 36),
            "max_num_seqs": st.integers(1, 2000),
            "enforce_eager": st.booleans(),
            "enable_lora": st.booleans(),
            "pipeline_parallel_size": st.integers(1, 3),
            "kv_cache_dtype": st.sampled_from(["auto", "fp8", "bfloat16"]),
        }
    else:
        options |= {
            "max_seq_len": lengths,
            "kv_cache_config": st.fixed_dictionaries({}, optional={"free_gpu_memory_fraction": share}),
            "max_batch_size": st.integers(1, 2000),
        }
    total = st.sampled_from([16, 24, 48, 80, 141])
    return st.fixed_dictionaries(
        {
            "model": st.sampled_from(MODELS),
            "options": st.fixed_dictionaries({}, optional=options),
            "gpu": st.tuples(total, st.floats(0, 1)).map(lambda g: GpuMemory(g[0] * GIB, int(g[0] * GIB * g[1] ** 3))),
            "count": st.integers(1, 8),
            "context": st.none() | lengths,
            "concurrency": st.integers(1, 64),
            "reserve": st.sampled_from([0.0, 0.0, 0.2, 0.5, 0.8]),
            "version": st.sampled_from([None, "0.8.5", "0.19.1", "0.24.0"]),
        }
    )


def asked(folders: Path, engine: EngineKind, drawn: dict[str, Any]) -> FitQuestion:
    return FitQuestion(
        engine,
        drawn["options"],
        NOWHERE,
        folder=folders / drawn["model"],
        gpus=(drawn["gpu"],) * drawn["count"],
        gpu_count=drawn["count"],
        version=drawn["version"],
        context=drawn["context"],
        concurrency=drawn["concurrency"],
        reserve=drawn["reserve"],
    )


def followed(question: FitQuestion, advice: str) -> FitQuestion:
    """The question as it is after the advice, read as a person would read it."""
    for name, words in ADVISED.findall(advice):
        value: Any = words if words == "fp8" else float(words) if "." in words else int(words)
        if name == "gpus":
            question = replace(question, gpus=(question.gpus[0],) * value, gpu_count=value)
        elif name.startswith("kv_cache_config."):
            cache = {**question.options.get("kv_cache_config", {}), name.partition(".")[2]: value}
            question = replace(question, options={**question.options, "kv_cache_config": cache})
        else:
            question = replace(question, options={**question.options, name: value})
    return question


RANK = {Verdict.DOES_NOT_FIT: 0, Verdict.TIGHT: 1, Verdict.FITS: 2}


def check_advice(question: FitQuestion, fit: Fit) -> None:
    for advice in fit.advice:
        assert ADVISED.search(advice), advice
        after = assess(followed(question, advice))
        assert RANK[after.verdict] > RANK[fit.verdict], (advice, after.summary)


@settings(max_examples=150, deadline=None)
@given(drawn=questions("vllm"))
def test_what_is_advised_for_vllm_fits(folders: Path, drawn: dict[str, Any]) -> None:
    question = asked(folders, "vllm", drawn)
    fit = assess(question)
    check_advice(question, fit)
    if fit.largest_max_model_len is not None:
        shorter = {**question.options, "max_model_len": fit.largest_max_model_len}
        alone = replace(question, options=shorter, context=None, concurrency=1)
        assert assess(alone).verdict is not Verdict.DOES_NOT_FIT
    if fit.smallest_tensor_parallel is not None and "pipeline_parallel_size" not in question.options:
        size = fit.smallest_tensor_parallel
        more = followed(question, f"`tensor_parallel_size: {size}` `gpus: {size}`")
        assert assess(more).verdict is not Verdict.DOES_NOT_FIT


@settings(max_examples=80, deadline=None)
@given(drawn=questions("tensorrt-llm"))
def test_what_is_advised_for_tensorrt_llm_fits(folders: Path, drawn: dict[str, Any]) -> None:
    question = asked(folders, "tensorrt-llm", drawn)
    check_advice(question, assess(question))


@settings(max_examples=100, deadline=None)
@given(drawn=questions("vllm"), more=st.integers(1, 50_000))
def test_more_is_never_less(folders: Path, drawn: dict[str, Any], more: int) -> None:
    drawn["options"].pop("max_model_len", None)
    drawn["context"] = min(drawn["context"] or 1000, 8000)
    question = asked(folders, "vllm", drawn)
    fit = assess(question)
    longer = assess(replace(question, context=(question.context or 0) + more))
    crowded = assess(replace(question, concurrency=question.concurrency + 1))
    roomier = assess(replace(question, gpus=tuple(GpuMemory(2 * gpu.total, gpu.used) for gpu in question.gpus)))
    kv = {row.title: row.low for row in fit.rows}["KV cache"]
    assert {row.title: row.low for row in longer.rows}["KV cache"] >= kv
    assert {row.title: row.low for row in crowded.rows}["KV cache"] > kv
    assert RANK[longer.verdict] <= RANK[fit.verdict]
    assert RANK[crowded.verdict] <= RANK[fit.verdict]
    if "max_num_seqs" in question.options:  # otherwise a larger GPU has larger batches, which take more
        assert RANK[roomier.verdict] >= min(RANK[fit.verdict], RANK[Verdict.TIGHT])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
FIELDS = sorted({key for name in MODELS for key in [*config_of(name), *config_of(name).get("text_config", {})]})
FIELDS += ["layers_block_type", "hybrid_override_pattern", "num_kv_shared_layers", "index_head_dim", "llm_config"]
NAMES = [
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "max_model_len",
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "max_num_seqs",
    "max_num_batched_tokens",
    "block_size",
    "cpu_offload_gb",
    "enable_lora",
    "max_lora_rank",
    "dtype",
    "kv_cache_dtype",
    "quantization",
    "hf_overrides",
    "kv_cache_config",
    "cuda_graph_config",
    "max_seq_len",
    "revision",
]


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(MODELS),
    changed=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    options=st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3),
    engine=st.sampled_from(["vllm", "tensorrt-llm"]),
)
def test_nothing_that_a_file_or_an_option_says_does_harm(
    name: str, changed: dict[str, Any], options: dict[str, Any], engine: EngineKind
) -> None:
    config = config_of(name)
    if "text_config" in config and "text_config" not in changed:
        config["text_config"] |= changed
    config |= changed
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        (Path(folder) / "model.safetensors.index.json").write_text(json.dumps(changed), encoding="utf-8")
        gpus = (GpuMemory(24 * GIB),)
        fit = assess(FitQuestion(engine, options, NOWHERE, folder=Path(folder), gpus=gpus, gpu_count=1))
    assert fit.summary.endswith(".")
    assert "\x1b" not in "".join([fit.summary, *fit.advice, *(row.note for row in fit.rows)])
