"""Profiles written in a hurry, or by somebody who means harm: what is refused, and what is warned of."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from engine.by_hand import command_line
from engine.errors import InvalidProfile
from engine.plan import Plan
from engine.profile import Profile
from engine.settings import Settings
from engine.stacks import STACKS
from engine.stacks.context import PlanContext

IMAGES = {
    "triton-vllm": "nvcr.io/nvidia/tritonserver:25.12-vllm-python-py3",
    "triton": "nvcr.io/nvidia/tritonserver:25.12-py3",
    "vllm": "vllm/vllm-openai:v0.11.0",
}


def plan(folder: Path, stack: str, **keys: Any) -> Plan:
    if stack == "triton":
        (folder / "repo/m/1").mkdir(parents=True, exist_ok=True)
        (folder / "repo/m/1/model.py").touch()
        keys = {"repository": "./repo", **keys}
    else:
        keys = {"model": "org/model", "gpus": 1, **keys}
    profile = Profile(**{"name": "p", "stack": stack, "image": IMAGES[stack], "expose": {"http": "auto"}, **keys})
    settings = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
    return STACKS[stack](PlanContext(profile, folder / "p.yaml", "", "docker", settings))


@pytest.mark.parametrize(
    ("stack", "keys", "words"),
    [
        # What would become an option of its own.
        ("vllm", {"model": "--trust-remote-code"}, "neither a Hugging Face repository"),
        ("triton-vllm", {"model": "a b"}, "neither a Hugging Face repository"),
        ("triton-vllm", {"lora": {"a": ""}}, "the adapter a `` is neither"),
        ("vllm", {"model": "https://huggingface.co/org/model/tree/main"}, "Write `org/model`"),
        ("vllm", {"served_model_name": "--api-key"}, "would be taken for an option"),
        ("vllm", {"engine": {"middleware": ["--x"]}}, "would be taken for an option"),
        ("vllm", {"image": "--privileged"}, "no name of an image"),
        ("triton", {"image": "a --privileged"}, "no name of an image"),
        ("triton", {"engine": {"log_verbose=1 --id": "x"}}, "no name of an option"),
        # Triton takes abbreviations, and with them what is refused by its name.
        ("triton", {"engine": {"model_control": "explicit"}, "bind": "0.0.0.0"}, "abbreviates.*model_control_mode"),
        ("triton", {"engine": {"http_por": 1}}, "abbreviates"),
        ("triton", {"engine": {"model_store": "/x"}}, "`repository`"),
        ("triton", {"engine": {"model_control_mode": "explict"}}, "one of none, poll, explicit"),
        ("triton-vllm", {"server": {"http-restricted-api": "health:key=value"}}, "for all to read"),
        # Mounts in the place of what tritontui puts there, or that Docker would refuse.
        ("triton-vllm", {"mounts": ["/tmp:/tritontui"]}, "/tritontui, where something else is put"),
        ("triton-vllm", {"mounts": ["/tmp:/x/../tritontui/models/"]}, "/tritontui/models, where something else is put"),
        ("triton-vllm", {"mounts": ["/tmp:/var/cache/huggingface"]}, "/var/cache/huggingface, where something else"),
        ("triton", {"mounts": ["/tmp:/x", "/etc:/x/"]}, "/x, where something else is put"),
        ("triton", {"mounts": ["/tmp:/"]}, "no container takes"),
        ("triton", {"mounts": ["a b:/x"]}, "neither a path nor the name of a volume"),
        ("triton", {"env": {"A": ""}, "secrets": {"A": "env"}}, "`env` and under `secrets`"),
        # Values that vLLM would refuse ten minutes later.
        ("vllm", {"engine": {"dtype": "bf16"}}, "one of auto, half"),
        ("vllm", {"engine": {"max_model_len": "lots"}}, "a number of tokens"),
        ("triton-vllm", {"engine": {"max_model_len": 10**30}}, "a number of tokens"),
        ("triton-vllm", {"engine": {"max_model_len": -5}}, "a number of tokens"),
        ("vllm", {"engine": {"max_lora_rank": 7}}, "one of 1, 8, 16"),
        ("vllm", {"engine": {"quantization": "gptq", "dtype": "bfloat16"}}, "Set `dtype: float16`"),
    ],
)
def test_what_is_refused(tmp_path: Path, stack: str, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidProfile, match=words):
        plan(tmp_path, stack, **keys)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"mounts": ["/:/host:rw"]}, "read and change the machine's own /."),
        ({"mounts": ["/etc:/x"]}, "lets the server read the machine's own /etc"),
        ({"mounts": ["/no/such/folder:/x"]}, "there is no /no/such/folder"),
        ({"mounts": ["repo:/x"]}, "write ./repo for the folder"),
        ({"env": {"CUDA_VISIBLE_DEVICES": "7"}}, "`env: CUDA_VISIBLE_DEVICES` chooses GPUs"),
        ({"env": {"LD_PRELOAD": "/x.so"}}, "loads /x.so into every program"),
        ({"engine": {"exit_on_erorr": False}}, "did you mean `exit_on_error`?"),
    ],
)
def test_what_is_warned_of(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    assert any(words in warning for warning in plan(tmp_path, "triton", **keys).warnings)


def test_a_socket_is_warned_of(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        made = plan(tmp_path, "triton", mounts=["./s:/var/run/docker.sock"])
    assert any("anything on this machine" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    "keys",
    [
        {"model": "gpt2"},
        {"model": "org/model-GGUF:Q4_K_M"},
        {"model": "s3://bucket/model"},
        {"engine": {"max_model_len": "auto"}},
        {"engine": {"max_model_len": "32k"}},
        {"engine": {"quantization": "gptq_marlin", "dtype": "bfloat16"}},
        {"mounts": ["cache:/x/y"]},
        {"image": "registry.local:5000/vllm/vllm-openai:v0.11.0@sha256:" + "a" * 64},
    ],
)
def test_what_is_right_is_let_pass(tmp_path: Path, keys: dict[str, Any]) -> None:
    assert plan(tmp_path, "vllm", **keys).warnings == ()


def test_a_folder_that_looks_like_a_repository_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (warning,) = plan(tmp_path, "vllm", model="weights").warnings
    assert "./weights for the folder" in warning


def test_a_snapshot_of_the_hubs_cache_is_mounted_with_the_files_that_it_links_to(tmp_path: Path) -> None:
    home = tmp_path / "models--org--model"
    (home / "blobs").mkdir(parents=True)
    (home / "snapshots/abc").mkdir(parents=True)
    (home / "blobs/1").touch()
    (home / "snapshots/abc/config.json").symlink_to("../../blobs/1")
    made = plan(tmp_path, "vllm", model=str(home / "snapshots/abc"))
    assert made.launch.command[0] == "/model/snapshots/abc"
    assert (str(home), "/model") in [(mount.source, mount.target) for mount in made.launch.mounts]
    assert made.warnings == ()


def test_links_out_of_a_mounted_folder_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/inside").touch()
    (tmp_path / "weights/link").symlink_to("inside")
    assert plan(tmp_path, "vllm", model="./weights").warnings == ()
    (tmp_path / "elsewhere").touch()
    (tmp_path / "weights/model.safetensors").symlink_to("../elsewhere")
    (warning,) = plan(tmp_path, "vllm", model="./weights").warnings
    assert "weights/model.safetensors is a link" in warning


def test_a_path_with_a_colon_and_a_comma_is_quoted_by_hand(tmp_path: Path) -> None:
    (tmp_path / 'a:b,"c').mkdir()
    line = command_line(plan(tmp_path, "vllm", model='./a:b,"c').launch)
    assert f"""--mount 'type=bind,"source={tmp_path}/a:b,""c",target=/model,readonly'""" in line


def test_what_a_reserve_promises_is_kept_by_the_upper_end_of_every_range(tmp_path: Path) -> None:
    numbers = {
        "weights": 16 << 30,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "hidden_size": 4096,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    }
    fit = {"gpu_memory": "24g", "model": numbers}
    engine = {"tensor_parallel_size": 4}
    made = plan(tmp_path, "triton-vllm", gpus=4, engine=engine, reserve="balanced", fit=fit)
    assert made.fit is not None
    assert made.fit.verdict == "fits"
    # CUDA's context, NCCL and graphs take more than a twentieth of a small GPU.
    (options,) = [json.loads(file.text) for file in made.launch.files if file.path.endswith("model.json")]
    assert 0.3 < options["gpu_memory_utilization"] < 0.45
