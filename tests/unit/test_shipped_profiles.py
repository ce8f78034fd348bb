"""Every profile that ships is planned, on a machine without GPUs and on one with eight."""

import json
from pathlib import Path

import pytest

from engine.by_hand import command_line
from engine.catalog import CatalogEntry, CatalogReader, read_profile
from engine.fit.result import Verdict
from engine.gpu_reading import Gpu
from engine.plan import Plan
from engine.profile import Profile
from engine.settings import SHIPPED_IN_CHECKOUT, Settings
from engine.stacks import STACKS
from engine.stacks.context import GIB, PlanContext
from engine.stacks.placement import Machine

FILES = sorted(SHIPPED_IN_CHECKOUT.glob("*.yaml"))
NAMES = {
    *("demo", "llama3-70b", "llama3-70b-tp8", "mixtral-8x7b-gptq", "qwen3-30b-thinking", "llama3.2-1b", "qwen3-0.6b"),
    *("smollm2-135m-lora", "llama3-8b-engine", "llama3.1-8b-trtllm", "llama3.1-8b-vllm", "llama3.1-8b-openai"),
    *("python-onnx", "workload-agents", "workload-speech-to-text", "workload-text-to-speech"),
    *("workload-vision-language", "workload-video", "workload-avatars"),
}
ENGINE_CONFIG = {
    "version": "1.1.0",
    "pretrained_config": {
        "architecture": "LlamaForCausalLM",
        "dtype": "bfloat16",
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_size": 4096,
        "head_size": 128,
        "vocab_size": 128256,
        "mapping": {"world_size": 1, "tp_size": 1, "pp_size": 1},
    },
    "build_config": {"max_batch_size": 64, "max_input_len": 8192, "max_seq_len": 8192, "max_num_tokens": 8192},
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has built the engine that one of the profiles names, and has no Hugging Face cache."""
    engines = tmp_path / "engines/llama3-8b"
    engines.mkdir(parents=True)
    (engines / "config.json").write_text(json.dumps(ENGINE_CONFIG))
    (engines / "rank0.engine").write_bytes(b"engine")
    (tmp_path / "engines/llama3-8b-tokenizer").mkdir()
    (tmp_path / "engines/llama3-8b-tokenizer/tokenizer.json").write_text("{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def read(file: Path) -> CatalogEntry:
    entry = read_profile(file)
    assert isinstance(entry, CatalogEntry), entry
    return entry


def plan(file: Path, home: Path, machine: Machine | None = None) -> tuple[Profile, Plan]:
    entry = read(file)
    settings = Settings(home / "config", home / "state", home / "cache")
    context = PlanContext(entry.profile, file, entry.digest, "docker", settings, machine or Machine())
    return entry.profile, STACKS[entry.profile.stack](context)


def test_all_of_them_are_there_and_valid(tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path, tmp_path, (SHIPPED_IN_CHECKOUT,), tmp_path)
    catalog = CatalogReader(settings).load()
    assert not catalog.problems
    assert set(catalog.entries) == NAMES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_planned_before_there_is_a_gpu(file: Path, home: Path) -> None:
    profile, made = plan(file, home)
    launch = made.launch
    assert file.stem == profile.name
    assert file.read_text().startswith("# yaml-language-server: $schema=./profile.schema.json\n")
    assert made.summary
    assert launch.image == profile.image
    assert launch.ports
    assert {port.host_ip for port in launch.ports} == {"127.0.0.1"}
    assert "privileged" not in command_line(launch)
    assert not made.obstacles
    if made.fit:
        assert made.fit.verdict in (Verdict.FITS, Verdict.TIGHT), made.fit
        assert made.fit.rows


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_planned_on_a_machine_with_eight_gpus(file: Path, home: Path) -> None:
    profile, _ = plan(file, home)
    total = profile.fit.gpu_memory or 80 * GIB
    gpus = tuple(Gpu(i, f"GPU-{i:08x}", "NVIDIA Test", 0.0, 0, total, 30.0, 60.0, 700.0) for i in range(8))
    _, made = plan(file, home, Machine(gpus))
    wanted = len(profile.gpus) if isinstance(profile.gpus, list) else profile.gpus
    assert len(made.placement) == wanted
    if wanted:
        assert made.launch.gpus == tuple(gpu.uuid for gpu in made.placement)
        assert all(gpu.uuid in command_line(made.launch) for gpu in made.placement)
    assert not made.obstacles


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_templates_name_their_gpus_and_their_load(file: Path) -> None:
    profile = read(file).profile
    if not profile.name.startswith("workload-"):
        return
    assert isinstance(profile.gpus, list)
    assert all(str(index) in profile.summary.split("GPU", 1)[1] for index in profile.gpus)
    assert "at once" in profile.summary
    assert profile.stack == "triton"
