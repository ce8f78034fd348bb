"""The stack `vllm`: from a profile to its server's command line, environment, mounts and warnings."""

import json
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.by_hand import command_line
from engine.catalog import CatalogEntry, read_profile
from engine.deployment import Protocol, Service
from engine.errors import InvalidProfile
from engine.gpu_reading import Gpu
from engine.plan import Plan
from engine.settings import Settings
from engine.stacks import vllm
from engine.stacks.context import GIB, PlanContext
from engine.stacks.parallel import SHARED_MEMORY
from engine.stacks.placement import Machine

VLLM = """\
name: v
stack: vllm
image: vllm/vllm-openai:v0.11.0
model: org/model
expose: {http: 18000}
"""


def gpu(index: int) -> Gpu:
    return Gpu(index, f"GPU-{index}", "H100", 80 * GIB, 0, None, None, None, None)


def plan(tmp_path: Path, text: str, runtime: str = "docker", gpus: int = 0) -> Plan:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    settings = Settings(tmp_path / "config", tmp_path / "state", tmp_path / "cache", (), tmp_path)
    machine = Machine(gpus=tuple(map(gpu, range(gpus))))
    return vllm.plan(PlanContext(entry.profile, path, entry.digest, runtime, settings, machine))


def value(made: Plan, flag: str, count: int = 1) -> list[str]:
    """The words that follow a flag, which must be there once."""
    words = list(made.launch.command)
    assert words.count(flag) == 1
    at = words.index(flag) + 1
    return words[at : at + count]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Something that may stand for vllm in an environment of its own: plans are made, not carried out."""
    path = tmp_path / "venv/bin/vllm"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "venv/lib/python3.12/site-packages/vllm-0.24.0.dist-info").mkdir(parents=True)
    return path


def test_on_docker(tmp_path: Path) -> None:
    options = (
        "{max_model_len: 8192, enforce_eager: true, enable-prefix-caching: false, hf_overrides: {rope_theta: 1.5}}"
    )
    made = plan(tmp_path, VLLM + f"engine: {options}\n")
    launch = made.launch
    assert launch.entrypoint == ("vllm", "serve")
    assert launch.command[0] == "org/model"
    assert value(made, "--max-model-len") == ["8192"]
    assert value(made, "--hf-overrides") == ['{"rope_theta":1.5}']
    assert {"--enforce-eager", "--no-enable-prefix-caching"} <= set(launch.command)
    assert value(made, "--served-model-name") == ["org/model"]
    assert launch.service.protocol is Protocol.OPENAI
    assert launch.service.metrics == "http://127.0.0.1:18000/metrics"
    assert launch.service.api_key is None
    assert launch.shm_bytes == GIB
    assert launch.env["HF_HOME"] in [mount.target for mount in launch.mounts if not mount.read_only]
    assert made.versions == {"vLLM": "0.11.0"}
    assert made.fit is None  # without a GPU
    assert plan(tmp_path, VLLM + "gpus: 1\n", gpus=1).fit is not None
    assert made.warnings == ()


def test_what_only_watches_is_kept_out_of_the_log(tmp_path: Path) -> None:
    flag = "--disable-access-log-for-endpoints"
    later = VLLM.replace("v0.11.0", "v0.24.0")
    assert value(plan(tmp_path, later), flag) == ["/health,/metrics"]
    assert value(plan(tmp_path, later + "engine: {disable_access_log_for_endpoints: /ping}\n"), flag) == ["/ping"]
    assert flag not in plan(tmp_path, later + "engine: {disable_uvicorn_access_log: true}\n").launch.command
    assert flag not in plan(tmp_path, VLLM).launch.command  # not known to it


def test_with_a_local_model(tmp_path: Path, program: Path) -> None:
    (tmp_path / "weights").mkdir()
    text = VLLM.replace("org/model", "./weights") + f"program: {program}\n"
    on_docker = plan(tmp_path, text).launch
    assert on_docker.command[0] == "/model"
    assert (str(tmp_path / "weights"), "/model", True) in [(m.source, m.target, m.read_only) for m in on_docker.mounts]
    assert on_docker.service.model == "v"
    local = plan(tmp_path, text, "process")
    assert local.launch.command[:3] == (str(program), "serve", str(tmp_path / "weights"))
    assert value(local, "--host") == ["127.0.0.1"]
    assert local.versions == {"vLLM": "0.24.0"}


def test_options_are_checked_against_the_version_that_is_there(tmp_path: Path, program: Path) -> None:
    text = VLLM + f"program: {program}\nengine: {{swap_space: 4}}\n"
    assert value(plan(tmp_path, text), "--swap-space") == ["4"]
    with pytest.raises(InvalidProfile, match=r"`swap_space` is not known to vLLM 0\.24\.0: it existed until 0\.17\.1"):
        plan(tmp_path, text, "process")
    with pytest.raises(InvalidProfile, match=r"not known to vLLM 0\.19\.0 in this image"):
        plan(tmp_path, text + "version: 0.19.0\n")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("served_model_name: llama\n", ["llama"]),
        ("engine: {served_model_name: llama}\n", ["llama"]),
        ("engine: {served-model-name: [llama, small]}\n", ["llama", "small"]),
    ],
)
def test_served_names(tmp_path: Path, text: str, names: list[str]) -> None:
    made = plan(tmp_path, VLLM + text)
    assert value(made, "--served-model-name", len(names)) == names
    assert made.launch.service.model == names[0]


def test_lora(tmp_path: Path, program: Path) -> None:
    (tmp_path / "a,b").mkdir()
    text = VLLM + f"program: {program}\nlora: {{far: org/adapter, near: './a,b'}}\nengine: {{max_lora_rank: 32}}\n"
    made = plan(tmp_path, text)
    assert "--enable-lora" in made.launch.command
    assert value(made, "--lora-modules", 2) == ["far=org/adapter", "near=/lora/near"]
    mounts = {mount.target: (mount.source, mount.read_only) for mount in made.launch.mounts}
    assert mounts["/lora/near"] == (str(tmp_path / "a,b"), True)
    assert any("`max_loras: 2`" in warning for warning in made.warnings)
    local = plan(tmp_path, text, "process")
    far, near = value(local, "--lora-modules", 2)
    assert far == "far=org/adapter"
    assert json.loads(near) == {"name": "near", "path": str(tmp_path / "a,b")}


@pytest.mark.parametrize(
    ("reference", "asked_by"),
    [("env", "env:VLLM_API_KEY"), ("env:OTHER", "env:OTHER"), ("file:/run/key", "file:/run/key")],
)
def test_an_api_key_is_only_ever_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, asked_by: str
) -> None:
    key = "sk-0123456789abcdef"
    monkeypatch.setenv("VLLM_API_KEY", key)
    monkeypatch.setenv("OTHER", key)
    made = plan(tmp_path, VLLM + f"secrets: {{VLLM_API_KEY: '{reference}'}}\n")
    launch = made.launch
    assert launch.secrets == {"VLLM_API_KEY": reference}
    assert launch.service.api_key == asked_by
    assert Service.from_json(launch.service.to_json()) == launch.service
    assert "VLLM_API_KEY" not in launch.env
    assert not any("api-key" in word for word in launch.command)
    assert key not in repr(made) + command_line(launch)


def test_sleep_mode_needs_developer_endpoints(tmp_path: Path) -> None:
    made = plan(tmp_path, VLLM + "engine: {enable_sleep_mode: true}\n")
    assert "--enable-sleep-mode" in made.launch.command
    assert made.launch.env["VLLM_SERVER_DEV_MODE"] == "1"
    assert any("call any method" in warning for warning in made.warnings)
    plain = plan(tmp_path, VLLM + "engine: {enable_sleep_mode: false}\n")
    assert "VLLM_SERVER_DEV_MODE" not in plain.launch.env
    assert plain.warnings == ()


def test_code_of_the_model_is_warned_of(tmp_path: Path) -> None:
    made = plan(tmp_path, VLLM + "engine: {trust_remote_code: true}\n")
    assert "--trust-remote-code" in made.launch.command
    assert any("runs the code that comes with org/model" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    ("wanted", "sizes", "refused", "warned"),
    [
        (2, {"tensor_parallel_size": 2}, "", ""),
        (4, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, "", ""),
        (4, {"data_parallel_size": 4}, "", ""),
        (2, {"tensor_parallel_size": 4}, r"needs 4 GPUs.*`gpus: 4`", ""),
        (4, {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}, r"needs 8 GPUs", ""),
        (2, {"tensor_parallel_size": 2, "data_parallel_size": 2}, r"needs 4 GPUs", ""),
        (0, {"tensor_parallel_size": 2}, r"needs 2 GPUs", ""),
        (4, {"tensor_parallel_size": 2}, "", "uses 2 of the 4 GPUs"),
        (4, {}, "", "Set `tensor_parallel_size: 4`"),
        (0, {}, "", ""),
        (1, {}, "", ""),
    ],
)
def test_gpus_against_parallel_sizes(
    tmp_path: Path, wanted: int, sizes: Mapping[str, int], refused: str, warned: str
) -> None:
    text = VLLM + f"gpus: {wanted}\nengine: {json.dumps(sizes)}\n"
    if refused:
        with pytest.raises(InvalidProfile, match=refused):
            plan(tmp_path, text, gpus=8)
        return
    made = plan(tmp_path, text, gpus=8)
    assert len(made.placement) == wanted
    assert [warned in warning for warning in made.warnings] == ([True] if warned else [])


def test_ranks_have_room_to_talk(tmp_path: Path) -> None:
    text = VLLM + "gpus: 2\nengine: {tensor_parallel_size: 2}\n"
    assert plan(tmp_path, text).launch.shm_bytes == SHARED_MEMORY
    assert plan(tmp_path, text + "shm_size: 1g\n").launch.shm_bytes == GIB
    host = plan(tmp_path, text + "ipc: host\n").launch
    assert (host.host_ipc, host.shm_bytes) == (True, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("engine: {host: 0.0.0.0}\n", "`bind` says it"),
        ("engine: {port: 1}\n", "`expose` says it"),
        ("engine: {model: x}\n", "`model` says it"),
        ("engine: {download-dir: /x}\n", "HF_HOME"),
        ("engine: {ssl_keyfile: /x}\n", "plain HTTP"),
        ("engine: {seed: 1, max-model-len: 1, max_model_len: 2}\n", "given twice"),
        ("engine: {api_key: sk-12345678}\n", "secrets: {VLLM_API_KEY: env}"),
        ("env: {VLLM_API_KEY: '1'}\n", "secrets: {VLLM_API_KEY: env}"),
        ("served_model_name: a\nengine: {served_model_name: b}\n", "given twice"),
        ("engine: {served_model_name: 7}\n", "a name, or a list of names"),
        ("engine: {served_model_name: []}\nserved_model_name: a\n", "given twice"),
        ("lora: {a: org/a}\nengine: {enable_lora: false}\n", "exclude each other"),
        ("lora: {a: org/a}\nengine: {lora_modules: [b=org/b]}\n", "Keep those under `lora`"),
        ("lora: {a: org/a}\nserved_model_name: a\n", "has the name of the model"),
        ("lora: {a: ./nowhere}\n", "adapter a .*nowhere is not a folder"),
        ("bind: 0.0.0.0\nengine: {enable_sleep_mode: true}\n", "Bind to 127.0.0.1"),
        ("bind: 0.0.0.0\nenv: {VLLM_SERVER_DEV_MODE: '1'}\n", "Bind to 127.0.0.1"),
        ("engine: {max_modle_len: 1}\n", "Did you mean `max_model_len`"),
        ("engine: {seed: }\n", "`seed` has no value"),
        ("tokenizer: org/t\n", "means nothing to the stack vllm"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidProfile, match=words) as refused:
        plan(tmp_path, VLLM + text)
    assert "12345678" not in str(refused.value)


def test_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidProfile, match="No vllm program was found"):
        plan(tmp_path, VLLM, "process")
    with pytest.raises(InvalidProfile, match="is not a program"):
        plan(tmp_path, VLLM + "program: ./nowhere\n", "process")
