"""The stack `triton-vllm`: what it writes for the backend, and how the server or the frontend is started on it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.deployment import Protocol
from engine.errors import InvalidProfile
from engine.gpu_reading import Gpu
from engine.plan import Launch, Mount, Plan
from engine.profile import Profile
from engine.settings import Settings
from engine.stacks import STACKS, openai_frontend
from engine.stacks.context import GIB, PlanContext
from engine.stacks.model_config import messages, read_config
from engine.stacks.parallel import SHARED_MEMORY
from engine.stacks.placement import Machine

IMAGE = "nvcr.io/nvidia/tritonserver:25.12-vllm-python-py3"
EIGHT = Machine(tuple(Gpu(index, f"GPU-{index}", "H100", 80 << 30, 0, None, None, None, None) for index in range(8)))


def plan(folder: Path, *, runtime: str = "docker", machine: Machine = EIGHT, **keys: Any) -> Plan:
    given = {"name": "q", "stack": "triton-vllm", "image": IMAGE, "model": "org/model", "gpus": 1, **keys}
    state = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
    context = PlanContext(Profile(**given), folder / "p.yaml", "", runtime, state, machine)
    return STACKS["triton-vllm"](context)


def texts(launch: Launch) -> dict[str, str]:
    return {file.path: file.text for file in launch.files}


def test_on_docker(tmp_path: Path) -> None:
    made = plan(
        tmp_path,
        engine={"max_model_len": 8192, "enforce_eager": True},
        server={"log_verbose": 1},
        expose={"http": 18000, "metrics": 18002},
    )
    launch = made.launch
    assert launch.files_root.startswith("/")
    assert launch.command == (
        "tritonserver",
        f"--model-repository={launch.files_root}/models",
        "--allow-grpc=false",
        "--log-verbose=1",
    )
    files = texts(launch)
    assert sorted(files) == ["models/q/1/model.json", "models/q/config.pbtxt"]
    # Booleans, not words: the backend hands them to vLLM as they are.
    assert json.loads(files["models/q/1/model.json"]) == {
        "model": "org/model",
        "max_model_len": 8192,
        "enforce_eager": True,
    }
    config = read_config(files["models/q/config.pbtxt"])
    (group,) = config.instance_group
    assert (group.kind, group.count, list(group.gpus)) == (group.KIND_MODEL, 1, [])
    assert (config.name, config.backend) == ("q", "vllm")
    assert {key: value.string_value for key, value in config.parameters.items()} == {"REPORT_CUSTOM_METRICS": "true"}
    assert not config.input, "the backend completes them"
    assert (launch.service.model, launch.service.protocol) == ("q", Protocol.TRITON)
    assert launch.service.metrics == "http://127.0.0.1:18002/metrics"
    assert launch.env["HF_HOME"] in [mount.target for mount in launch.mounts if not mount.read_only]
    assert launch.shm_bytes == GIB
    assert launch.ulimits["memlock"] == -1
    assert made.versions["vLLM"].startswith("0.11")
    assert made.fit is not None
    assert not made.warnings


def test_a_local_model_and_adapters_are_mounted(tmp_path: Path) -> None:
    for name in ("weights", "near"):
        (tmp_path / name).mkdir()
    adapters = {"near": "./near", "far.one": "org/adapter"}
    launch = plan(tmp_path, model="./weights", lora=adapters, served_model_name="My_model.1").launch
    files = texts(launch)
    assert json.loads(files["models/My_model.1/1/model.json"]) == {"model": "/model", "enable_lora": True}
    assert json.loads(files["models/My_model.1/1/multi_lora.json"]) == {"near": "/lora/near", "far.one": "org/adapter"}
    assert {Mount(str(tmp_path / "weights"), "/model"), Mount(str(tmp_path / "near"), "/lora/near")} <= set(
        launch.mounts
    )
    assert launch.service.model == "My_model.1"


def local_server(folder: Path, *backends: str) -> Path:
    for backend in backends:
        (folder / "server/backends" / backend).mkdir(parents=True)
    program = folder / "server/bin/tritonserver"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    return program


def test_as_a_process(tmp_path: Path) -> None:
    program = local_server(tmp_path, "python", "vllm")
    (tmp_path / "near").mkdir()
    launch = plan(tmp_path, runtime="process", program=str(program), lora={"near": "./near"}, version="0.11.1").launch
    assert launch.files_root == str(tmp_path / "state/deployments/q/files")
    assert f"--model-repository={launch.files_root}/models" in launch.command
    assert json.loads(texts(launch)["models/q/1/multi_lora.json"]) == {"near": str(tmp_path / "near")}
    assert (launch.mounts, launch.shm_bytes) == ((), None)
    assert "HF_HOME" not in launch.env


def test_a_local_server_without_the_backend(tmp_path: Path) -> None:
    program = local_server(tmp_path, "python")
    with pytest.raises(InvalidProfile, match=r"has no vLLM backend: .*/server/backends has no folder vllm"):
        plan(tmp_path, runtime="process", program=str(program))
    (tmp_path / "mine/vllm").mkdir(parents=True)
    launch = plan(tmp_path, runtime="process", program=str(program), server={"backend-directory": "./mine"}).launch
    assert [word for word in launch.command if "backend-directory" in word] == [
        f"--backend-directory={tmp_path / 'mine'}"
    ]


def test_explicit_control_loads_the_model_itself_and_watches_its_health(tmp_path: Path) -> None:
    launch = plan(tmp_path, server={"model-control-mode": "explicit"}).launch
    assert launch.command[-2:] == ("--model-control-mode=explicit", "--load-model=q")
    config = read_config(texts(launch)["models/q/config.pbtxt"])
    assert config.parameters["ENABLE_VLLM_HEALTH_CHECK"].string_value == "true"
    for load in ("q", ["q"], ["*"]):
        words = plan(tmp_path, server={"model_control_mode": "explicit", "load_model": load}).launch.command
        assert sum(word.startswith("--load-model") for word in words) == 1
    for frontend in (None, "openai"):
        with pytest.raises(InvalidProfile, match=r"lets whoever reaches 0\.0\.0\.0 change what is loaded"):
            plan(
                tmp_path,
                server={"model_control_mode": "explicit"},
                bind="0.0.0.0",
                frontend=frontend,
                image=IMAGE.replace("25.12", "26.04"),
            )


def test_a_server_that_completes_nothing_is_told_everything(tmp_path: Path) -> None:
    launch = plan(tmp_path, server={"disable_auto_complete_config": True}).launch
    assert "--disable-auto-complete-config" in launch.command
    config = read_config(texts(launch)["models/q/config.pbtxt"])
    assert config.model_transaction_policy.decoupled
    types = messages()
    inputs = {tensor.name: (tensor.data_type, list(tensor.dims), tensor.optional) for tensor in config.input}
    assert inputs["text_input"] == (types.TYPE_STRING, [1], False)
    assert inputs["stream"] == (types.TYPE_BOOL, [1], True)
    assert {tensor.name: tensor.data_type for tensor in config.output}["num_output_tokens"] == types.TYPE_UINT32


def test_without_vllms_statistics_none_are_promised(tmp_path: Path) -> None:
    made = plan(tmp_path, engine={"disable_log_stats": True})
    assert not read_config(texts(made.launch)["models/q/config.pbtxt"]).parameters
    assert any("`disable_log_stats` leaves vLLM's own metrics out" in warning for warning in made.warnings)


def test_what_is_dangerous_or_idle_is_warned_of(tmp_path: Path) -> None:
    made = plan(tmp_path, gpus=4, engine={"trust_remote_code": True, "tensor_parallel_size": 2})
    assert any("lets org/model run code of its own" in warning for warning in made.warnings)
    assert any(
        "uses 2 of the 4 GPUs that the profile gets. Set `tensor_parallel_size: 4`, or `gpus: 2`" in warning
        for warning in made.warnings
    )
    three = plan(tmp_path, gpus=3, engine={"tensor_parallel_size": 2}).warnings
    assert any(warning.endswith("the profile gets. Set `gpus: 2`.") for warning in three)
    assert any("needs one: set `gpus`" in warning for warning in plan(tmp_path, gpus=0).warnings)


def test_several_ranks_need_shared_memory(tmp_path: Path) -> None:
    engine = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    assert plan(tmp_path, gpus=4, engine=engine).launch.shm_bytes == SHARED_MEMORY
    assert plan(tmp_path, gpus=4, engine=engine, shm_size="16g").launch.shm_bytes == 16 * GIB
    host = plan(tmp_path, gpus=4, engine=engine, ipc="host").launch
    assert (host.shm_bytes, host.host_ipc) == (None, True)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"model": None}, "`model` is missing"),
        ({"engine": {"model": "x"}}, "`engine` names a model.*own key `model`"),
        ({"engine": {"seed": None}}, "`seed` has no value"),
        ({"engine": {"tensor_parallel_size": 2}}, r"needs 2 GPUs \(tensor_parallel_size 2\), .* gets 1. Set `gpus: 2`"),
        (
            {"gpus": 3, "engine": {"tensor_parallel_size": 2, "data_parallel_size": 2}},
            r"needs 4 GPUs \(tensor_parallel_size 2 × data_parallel_size 2\), .* lower the product to 3",
        ),
        ({"gpus": 0, "engine": {"pipeline_parallel_size": 2}}, "gets none"),
        ({"engine": {"enable_lora": True}}, "lists no adapters"),
        ({"engine": {"enable_lora": False}, "lora": {"a": "b/c"}}, "`enable_lora: false` forbids them"),
        ({"lora": {"a": "./nowhere"}}, "the adapter a .*/nowhere is not a folder"),
        ({"served_model_name": "org/model"}, "no name for a model on Triton"),
        ({"served_model_name": ".."}, "no name for a model on Triton"),
        ({"server": {"http_port": 1}}, "`http_port` is no option"),
        ({"server": {"load_model": "q"}}, "needs explicit model control"),
        ({"tokenizer": "x"}, "`tokenizer` means nothing"),
        ({"repository": "x"}, "`repository` means nothing"),
        ({"image": "nvcr.io/nvidia/tritonserver:25.12-py3"}, "25.12-vllm-python-py3"),
        ({"engine": {"swap_spase": 1}}, "swap_spase"),
        ({"engine": {"disable_log_requests": True}}, r"`disable_log_requests`.*until 0\.10"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidProfile, match=said):
        plan(tmp_path, **keys)


def test_ray_and_several_machines_are_left_to_vllm(tmp_path: Path) -> None:
    plan(tmp_path, engine={"tensor_parallel_size": 16, "distributed_executor_backend": "ray"})


def test_the_openai_frontend(tmp_path: Path) -> None:
    made = plan(
        tmp_path, frontend="openai", server={"default-max-tokens": 512}, expose={"http": 19000}, lora={"a": "org/a"}
    )
    launch = made.launch
    assert launch.command == (
        "python3",
        "/opt/tritonserver/python/openai/openai_frontend/main.py",
        f"--model-repository={launch.files_root}/models",
        "--host=0.0.0.0",
        "--openai-port=9000",
        "--tokenizer=org/model",
        "--default-max-tokens=512",
    )
    assert [(port.purpose, port.host_port, port.container_port) for port in launch.ports] == [("http", 19000, 9000)]
    service = launch.service
    assert (service.protocol, service.model) == (Protocol.OPENAI, "q")
    assert service.health == "http://127.0.0.1:19000/health/ready"
    assert service.metrics == "http://127.0.0.1:19000/metrics"
    assert "models/q/config.pbtxt" in texts(launch)
    assert any("`lora_separator`" in warning for warning in made.warnings)


def test_the_frontends_tokenizer(tmp_path: Path) -> None:
    for name in ("weights", "tokens"):
        (tmp_path / name).mkdir()
    own = plan(tmp_path, frontend="openai", model="./weights").launch
    assert "--tokenizer=/model" in own.command
    other = plan(tmp_path, frontend="openai", model="./weights", tokenizer="./tokens").launch
    assert "--tokenizer=/tokenizer" in other.command
    assert Mount(str(tmp_path / "tokens"), "/tokenizer") in other.mounts


@pytest.mark.parametrize(
    ("release", "keys", "said"),
    [
        ("24.12", {}, r"Triton 24.12 has no OpenAI frontend: .* since 25.01"),
        ("25.07", {"server": {"default_max_tokens": 5}}, r"Triton 25.07 does not know `default_max_tokens`: .* 25.08"),
        ("25.12", {"server": {"model_control_mode": "explicit"}}, "does not know `model_control_mode`.* 26.04"),
        ("25.12", {"server": {"default_max_token": 5}}, "Did you mean `default_max_tokens`"),
        ("25.12", {"server": {"log_verbose": 1}}, "no option of Triton's OpenAI frontend. It has .*uvicorn_log_level"),
        ("25.12", {"server": {"host": "::"}}, "own key `bind`"),
        ("25.12", {"server": {"openai_restricted_api": "a"}}, "for all to read"),
        ("25.12", {"server": {"enable_kserve_frontends": True}}, "leave out `frontend`"),
        ("25.12", {"expose": {"metrics": 18002}}, "`expose` names metrics, which"),
        ("25.12", {"expose": {}}, "leaves out http"),
    ],
)
def test_what_the_frontend_of_a_release_cannot_do(
    tmp_path: Path, release: str, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidProfile, match=said):
        plan(tmp_path, frontend="openai", image=IMAGE.replace("25.12", release), **keys)


def test_the_frontend_is_not_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_frontend, "PROGRAM", str(tmp_path / "main.py"))
    with pytest.raises(InvalidProfile, match="not on this machine: there is no"):
        plan(tmp_path, runtime="process", frontend="openai")
    (tmp_path / "main.py").touch()
    command = plan(tmp_path, runtime="process", frontend="openai", expose={"http": 19000}).launch.command
    assert {"--host=127.0.0.1", "--openai-port=19000"} <= set(command)


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z")
JSON = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
ENGINE = st.fixed_dictionaries(
    {},
    optional={
        "max_model_len": st.integers(1, 1 << 20),
        "gpu_memory_utilization": st.floats(0.1, 1.0),
        "enforce_eager": st.booleans(),
        "disable_log_stats": st.booleans(),
        "trust_remote_code": st.booleans(),
        "dtype": st.sampled_from(["auto", "half", "bfloat16"]),
        "load_format": TEXT,
        "max_lora_rank": st.sampled_from([8, 16, 32]),
        "tensor_parallel_size": st.integers(1, 4),
        "pipeline_parallel_size": st.integers(1, 2),
        "speculative_config": st.dictionaries(TEXT, JSON, max_size=3),
        "limit_mm_per_prompt": st.dictionaries(TEXT, st.integers(0, 9), max_size=3),
        "hf_overrides": st.dictionaries(TEXT, JSON, max_size=3),
        "logits_processors": st.lists(TEXT, max_size=3),
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    engine=ENGINE,
    model=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,20}/[A-Za-z0-9_.-]{1,20}\Z"),
    served=st.none() | NAMES,
    lora=st.dictionaries(NAMES, st.from_regex(r"\A[a-z0-9]{1,9}/[a-z0-9_-]{1,9}\Z"), max_size=3),
    frontend=st.sampled_from([None, "openai"]),
)
def test_any_profile_gives_files_that_say_what_it_says(
    tmp_path: Path, engine: dict[str, Any], model: str, served: str | None, lora: dict[str, str], frontend: str | None
) -> None:
    keys: dict[str, Any] = {"model": model, "served_model_name": served, "lora": lora, "frontend": frontend}
    launch = plan(tmp_path, gpus=8, engine=engine, **keys).launch
    files, name = texts(launch), served or "q"
    written = json.loads(files.pop(f"models/{name}/1/model.json"))
    assert written == {"model": model, **engine, **({"enable_lora": True} if lora else {})}
    config = read_config(files.pop(f"models/{name}/config.pbtxt"))
    assert (config.name, config.backend) == (name, "vllm")
    (group,) = config.instance_group
    assert (group.kind, group.count) == (group.KIND_MODEL, 1)
    assert ("REPORT_CUSTOM_METRICS" in config.parameters) is not engine.get("disable_log_stats", False)
    if lora:
        assert json.loads(files.pop(f"models/{name}/1/multi_lora.json")) == lora
    assert not files
    assert all(text.isascii() for path, text in texts(launch).items() if path.endswith(".json"))
