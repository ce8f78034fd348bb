"""The stack `triton-trtllm`: plans of both ways, and what is said of an engine before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.catalog import CatalogEntry, read_profile
from engine.errors import InvalidProfile
from engine.plan import Plan
from engine.profile import Profile
from engine.settings import Settings
from engine.stacks import triton_trtllm
from engine.stacks.context import PlanContext
from engine.stacks.trtllm_engine import read_engine

IMAGE = "nvcr.io/nvidia/tritonserver:25.12-trtllm-python-py3"
LLM_API = f"name: llama\nstack: triton-trtllm\nimage: {IMAGE}\nmodel: org/llama\ngpus: 1\n"
PREBUILT = f"name: llama\nstack: triton-trtllm\nimage: {IMAGE}\nengines: built\ntokenizer: org/llama\ngpus: 1\n"


def plan(tmp_path: Path, text: str, runtime: str = "docker") -> Plan:
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    entry = read_profile(path)
    assert isinstance(entry, CatalogEntry), entry
    return triton_trtllm.plan(_context(tmp_path, entry.profile, runtime))


def _context(folder: Path, profile: Profile, runtime: str = "docker") -> PlanContext:
    own = Settings(folder / "config", folder / "state", folder / "cache", (), folder)
    return PlanContext(profile, folder / "p.yaml", "digest", runtime, own)


def files(made: Plan) -> dict[str, str]:
    return {file.path: file.text for file in made.launch.files}


def launch_settings(made: Plan) -> Any:
    return json.loads(files(made)["launch.json"])


def build_engine(folder: Path, *, tp: int = 1, pp: int = 1, version: str = "1.1.0", **limits: Any) -> Path:
    """A folder as trtllm-build leaves it, without the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "version": version,
        "pretrained_config": {
            "architecture": "LlamaForCausalLM",
            "mapping": {"world_size": tp * pp, "tp_size": tp, "pp_size": pp, "cp_size": 1},
        },
        "build_config": {
            "max_batch_size": 64,
            "max_input_len": 1024,
            "max_seq_len": 2048,
            "max_num_tokens": 8192,
            "max_beam_width": 1,
            "plugin_config": {"use_paged_context_fmha": True},
            **limits,
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    for rank in range(tp * pp):
        (folder / f"rank{rank}.engine").write_bytes(b"")
    return folder


def test_the_llm_api(tmp_path: Path) -> None:
    text = (
        LLM_API.replace("gpus: 1", "gpus: 2")
        + "engine: {tensor_parallel_size: 2, max_seq_len: 8192, kv_cache_config: {free_gpu_memory_fraction: 0.8}}\n"
        + "server: {log_verbose: 1, exit_timeout_secs: 20}\nexpose: {http: 18000, metrics: 18002}\n"
        + "secrets: {HF_TOKEN: env}\n"
    )
    made = plan(tmp_path, text)
    launch, start = made.launch, launch_settings(made)
    assert launch.command == ("python3", "/tritontui/launch.py")
    assert launch.entrypoint is None
    assert yaml.safe_load(files(made)["model.yaml"]) == {
        "model": "org/llama",
        "backend": "pytorch",
        "tensor_parallel_size": 2,
        "max_seq_len": 8192,
        "kv_cache_config": {"free_gpu_memory_fraction": 0.8},
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    (model,) = start["models"]
    assert model["template"] == "/app/all_models/llmapi/tensorrt_llm"
    assert (model["name"], launch.service.model) == ("llama", "llama")
    assert model["files"] == {"1/model.yaml": "model.yaml"}
    server = start["server"]
    assert server["ranks"] == 1, "the LLM API spawns the ranks by itself"
    assert server["options"] == ["--log-verbose=1", "--exit-timeout-secs=20"]
    assert "--disable-auto-complete-config" not in server["options"], "the model adds its streaming by it"
    assert server["first"] == ["--allow-grpc=false"]
    assert launch.service.metrics == "http://127.0.0.1:18002/metrics"
    assert launch.env["HF_HOME"] in [mount.target for mount in launch.mounts if not mount.read_only]
    assert launch.shm_bytes == 2 << 30
    assert launch.ulimits["memlock"] == -1
    assert launch.gpus == 2
    assert made.versions["TensorRT-LLM"] == "1.1.0"
    assert made.fit is not None


def test_a_local_model_with_a_name_and_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "words").mkdir()
    text = LLM_API.replace("org/llama", "./weights") + "served_model_name: Llama_3\ntokenizer: ./words\n"
    made = plan(tmp_path, text)
    config = yaml.safe_load(files(made)["model.yaml"])
    assert (config["model"], config["tokenizer"]) == ("/model", "/tokenizer")
    mounts = {mount.target: (mount.source, mount.read_only) for mount in made.launch.mounts}
    assert mounts["/model"] == (str(tmp_path / "weights"), True)
    assert mounts["/tokenizer"] == (str(tmp_path / "words"), True)
    assert made.launch.service.model == launch_settings(made)["models"][0]["name"] == "Llama_3"


def test_a_prebuilt_engine(tmp_path: Path) -> None:
    build_engine(tmp_path / "built", tp=2, pp=2)
    text = PREBUILT.replace("gpus: 1", "gpus: 4") + (
        "engine: {kv_cache_free_gpu_mem_fraction: 0.7, gpu_device_ids: [0, 1, 2, 3], enable_kv_cache_reuse: true}\n"
        "server: {model_control_mode: explicit, log_verbose: 1}\n"
    )
    made = plan(tmp_path, text)
    launch, start = made.launch, launch_settings(made)
    filled = start["values"]
    assert filled["engine_dir"] == "/engines"
    assert filled["tokenizer_dir"] == "org/llama"
    assert filled["triton_max_batch_size"] == "64"
    assert filled["decoupled_mode"] == filled["exclude_input_in_output"] == filled["enable_chunked_context"] == "true"
    assert filled["batch_scheduler_policy"] == "max_utilization"
    assert filled["batching_strategy"] == "inflight_fused_batching"
    assert filled["gpu_device_ids"] == "0,1,2,3"
    assert filled["kv_cache_free_gpu_mem_fraction"] == "0.7"
    assert start["asked"] == ["kv_cache_free_gpu_mem_fraction", "gpu_device_ids", "enable_kv_cache_reuse"]
    assert {model["template"].rpartition("/")[2]: model["name"] for model in start["models"]} == {
        "preprocessing": "preprocessing",
        "tensorrt_llm": "tensorrt_llm",
        "postprocessing": "postprocessing",
        "tensorrt_llm_bls": "tensorrt_llm_bls",
        "ensemble": "llama",
    }
    assert launch.service.model == "llama"
    server = start["server"]
    assert server["ranks"] == 4
    assert server["options"] == ["--disable-auto-complete-config", "--log-verbose=1"]
    assert server["first"] == [
        "--model-control-mode=explicit",
        *(f"--load-model={model['name']}" for model in start["models"]),
    ]
    assert "--load-model=tensorrt_llm" in server["others"]
    assert "--allow-http=false" in server["others"]
    assert (str(tmp_path / "built"), "/engines", True) in [(m.source, m.target, m.read_only) for m in launch.mounts]
    assert launch.shm_bytes == 4 << 30
    assert "model.yaml" not in files(made)


def test_which_model_of_the_pipeline_prompts_go_to(tmp_path: Path) -> None:
    build_engine(tmp_path / "built", max_batch_size=2)
    made = plan(tmp_path, PREBUILT + "served_model_name: tensorrt_llm_bls\n")
    assert made.launch.service.model == "tensorrt_llm_bls"
    assert "ensemble" in [model["name"] for model in launch_settings(made)["models"]]
    assert launch_settings(made)["values"]["bls_instance_count"] == "2"
    with pytest.raises(InvalidProfile, match="`served_model_name: preprocessing` is a part of the pipeline"):
        plan(tmp_path, PREBUILT + "served_model_name: preprocessing\n")


@pytest.mark.parametrize("stated", [True, False])
def test_a_reserve_is_kept_in_the_words_of_each_way(tmp_path: Path, stated: bool) -> None:
    build_engine(tmp_path / "built")
    reserve = "reserve: 0.5\n"
    llm_api = LLM_API + reserve + ("engine: {kv_cache_config: {free_gpu_memory_fraction: 0.6}}\n" if stated else "")
    cache = yaml.safe_load(files(plan(tmp_path, llm_api))["model.yaml"])["kv_cache_config"]
    prebuilt = PREBUILT + reserve + ("engine: {kv_cache_free_gpu_mem_fraction: 0.6}\n" if stated else "")
    filled = launch_settings(plan(tmp_path, prebuilt))
    shares = cache["free_gpu_memory_fraction"], float(filled["values"]["kv_cache_free_gpu_mem_fraction"])
    assert filled["asked"] == ["kv_cache_free_gpu_mem_fraction"]
    assert all(share == 0.6 if stated else 0 < share < 0.5 for share in shares)


def test_the_pieces_of_a_stream_keep_their_order(tmp_path: Path) -> None:
    build_engine(tmp_path / "built")
    made = plan(tmp_path, PREBUILT)
    assert launch_settings(made)["values"]["preprocessing_instance_count"] == "5"
    assert launch_settings(made)["values"]["postprocessing_instance_count"] == "1"
    text = PREBUILT + "engine: {postprocessing_instance_count: 4}\n"
    assert any("out of order" in warning for warning in plan(tmp_path, text).warnings)
    other = plan(tmp_path, text + "served_model_name: tensorrt_llm_bls\n")
    assert not any("out of order" in warning for warning in other.warnings)


def test_the_tokenizer_is_the_models_unless_it_has_its_own(tmp_path: Path) -> None:
    build_engine(tmp_path / "built")
    made = plan(tmp_path, PREBUILT.replace("tokenizer: org/llama", "model: org/other"))
    assert launch_settings(made)["values"]["tokenizer_dir"] == "org/other"


def test_the_launcher_goes_along_as_it_stands(tmp_path: Path) -> None:
    made = plan(tmp_path, LLM_API)
    launcher = next(file for file in made.launch.files if file.path == "launch.py")
    assert launcher.executable
    compile(launcher.text, "launch.py", "exec")
    assert "import engine" not in launcher.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: org/llama\nruntime: process\n", "runs on Docker alone.*Set `runtime: docker`"),
        ("", "`model` is missing"),
        ("model: ./nowhere\n", "is not a folder"),
        ("model: o/m\nrepository: .\n", "`repository` means nothing"),
        ("model: o/m\nlora: {a: o/a}\n", "`lora` means nothing"),
        ("model: o/m\nserved_model_name: a/b\n", "no name for a model on Triton"),
        ("model: o/m\nenv: {LLM_CONFIG_PATH: /x}\n", "LLM_CONFIG_PATH"),
        ("model: o/m\nengine: {gpu_memory_utilization: 0.9}\n", "vLLM's word.*free_gpu_memory_fraction"),
        ("model: o/m\nversion: 0.18.2\n", r"TensorRT-LLM 0\.18\.2, whose templates have no LLM API.*25\.05"),
        ("model: o/m\nengine: {model: o/n}\n", "`engine: model` stands apart"),
        ("model: o/m\nengine: {tensor_parallel_size: two}\n", "'two', no whole number"),
        ("model: o/m\nengine: {tensor_parallel_size: 4}\n", "needs 4 GPUs, and the profile gets 1.*`gpus: 4`"),
        ("model: o/m\nengine: {triton_config: {decoupled: false}}\n", "`triton_config: decoupled` must be true"),
        ("model: o/m\nengine: {triton_config: 3}\n", "`engine: triton_config` is no mapping"),
        ("model: o/m\nserver: {http-port: 8000}\n", "`http_port` is no option to give"),
        ("model: o/m\nserver: {disable_auto_complete_config: true}\n", "not set by hand"),
        ("model: o/m\nbind: 0.0.0.0\nserver: {model-control-mode: explicit}\n", "lets whoever reaches 0.0.0.0"),
    ],
)
def test_what_cannot_be_planned_with_the_llm_api(tmp_path: Path, text: str, words: str) -> None:
    runtime = "process" if "process" in text else "docker"
    with pytest.raises(InvalidProfile, match=words):
        plan(tmp_path, f"name: p\nstack: triton-trtllm\nimage: {IMAGE}\ngpus: 1\n{text}", runtime)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("engine: {kv_cache_free_gpu_memory_fraction: 0.9}\n", "Did you mean `kv_cache_free_gpu_mem_fraction`"),
        ("engine: {decoupled_mode: false}\n", "not set by hand: streaming"),
        ("engine: {engine_dir: /x}\n", "`engines:` names the folder"),
        ("engine: {triton_max_batch_size: 65}\n", "is 65, and the engine was built for at most 64"),
        ("engine: {max_beam_width: 4}\n", "is 4, and the engine was built for at most 1"),
        ("engine: {max_beam_width: wide}\n", "'wide', no whole number"),
        ("engine: {batching_strategy: null}\n", "`batching_strategy` has no value"),
    ],
)
def test_what_cannot_be_planned_with_an_engine(tmp_path: Path, text: str, words: str) -> None:
    build_engine(tmp_path / "built")
    with pytest.raises(InvalidProfile, match=words):
        plan(tmp_path, PREBUILT + text)


def test_an_engine_needs_its_tokenizer(tmp_path: Path) -> None:
    build_engine(tmp_path / "built")
    with pytest.raises(InvalidProfile, match="`tokenizer` is missing"):
        plan(tmp_path, PREBUILT.replace("tokenizer: org/llama\n", ""))


def test_a_parameter_that_no_list_has_is_left_to_the_image(tmp_path: Path) -> None:
    build_engine(tmp_path / "built")
    made = plan(tmp_path, PREBUILT + "engine: {brand_new: 7}\n")
    assert any("`brand_new` is not known here" in warning for warning in made.warnings)
    assert launch_settings(made)["asked"] == ["brand_new"]


def test_an_engine_is_held_against_the_image_and_the_gpus(tmp_path: Path) -> None:
    build_engine(tmp_path / "built", version="0.20.0")
    with pytest.raises(InvalidProfile, match=r"built by TensorRT-LLM 0\.20\.0, and the image has 1\.1\.0.*25\.06"):
        plan(tmp_path, PREBUILT)
    build_engine(tmp_path / "built", version="1.1.0.post1")
    assert not any("TensorRT-LLM" in warning for warning in plan(tmp_path, PREBUILT).warnings)
    own = PREBUILT.replace(IMAGE, "example/own:1")
    assert any("loads only in TensorRT-LLM 1.1.0.post1" in warning for warning in plan(tmp_path, own).warnings)
    with pytest.raises(InvalidProfile, match=r"and the image has 0\.9\.0"):
        plan(tmp_path, own + "version: 0.9.0\n")
    newest = PREBUILT.replace("25.12", "99.01")
    with pytest.raises(InvalidProfile, match="or later"):
        plan(tmp_path, newest)
    build_engine(tmp_path / "built", tp=4)
    with pytest.raises(InvalidProfile, match="parallel 4 × 1, needs 4 GPUs, and the profile gets 1"):
        plan(tmp_path, PREBUILT)
    idle = plan(tmp_path, PREBUILT.replace("gpus: 1", "gpus: 8"))
    assert any("uses 4 of the 8 GPUs" in warning for warning in idle.warnings)
    assert launch_settings(plan(tmp_path, PREBUILT.replace("gpus: 1", "gpus: all")))["server"]["ranks"] == 4


def test_without_a_gpu_there_is_a_warning(tmp_path: Path) -> None:
    assert any("Set `gpus: 1`" in warning for warning in plan(tmp_path, LLM_API.replace("gpus: 1\n", "")).warnings)


def test_what_an_engine_says_of_itself(tmp_path: Path) -> None:
    engine = read_engine(build_engine(tmp_path, tp=2, pp=2))
    assert (engine.version, engine.world_size) == ("1.1.0", 4)
    assert (engine.max_batch_size, engine.max_input_len, engine.max_seq_len, engine.max_num_tokens) == (
        64,
        1024,
        2048,
        8192,
    )
    assert engine.paged_context_fmha


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (b"\xff\xfe", "is not JSON"),
        (b"", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b"[1]", "no JSON object"),
        (b'{"builder_config": {}}', "has no `pretrained_config`.*not the checkpoint"),
        (b'{"pretrained_config": {"mapping": []}, "build_config": {}}', "has no `mapping`"),
        (b'{"pretrained_config": {"mapping": {"tp_size": "2"}}, "build_config": {}}', '`tp_size` is "2"'),
        (b'{"pretrained_config": {"mapping": {"tp_size": 1e99}}, "build_config": {}}', "`tp_size` is 1e"),
        (b'{"pretrained_config": {"mapping": {"tp_size": true}}, "build_config": {}}', "`tp_size` is true"),
        (b'{"pretrained_config": {"mapping": {"tp_size": 2, "world_size": 4}}, "build_config": {}}', "contradicts"),
        (b'{"pretrained_config": {"mapping": {"tp_size": 2}}, "build_config": {}}', r"lacks rank1\.engine"),
        (b'{"pretrained_config": {"mapping": {"tp_size": 2147483647}}, "build_config": {}}', "and .* more"),
        (b'{"pretrained_config": {"mapping": {}}, "build_config": {"max_batch_size": -1}}', "`max_batch_size` is -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_that_is_no_engine(tmp_path: Path, config: bytes, words: str) -> None:
    (tmp_path / "rank0.engine").write_bytes(b"")
    (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(InvalidProfile, match=words):
        read_engine(tmp_path)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(InvalidProfile, match=r"holds no config\.json"):
        read_engine(tmp_path)
    with pytest.raises(InvalidProfile, match="nowhere is not a folder"):
        read_engine(tmp_path / "nowhere")


TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
APART = {"model", "tokenizer", "triton_config", "backend", *triton_trtllm._FROM_VLLM, *triton_trtllm._SIZES}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.dictionaries(TEXT.filter(lambda key: key not in APART), VALUES, max_size=5),
    model=st.from_regex(r"\A[a-zA-Z0-9_.-]{1,20}\Z"),
)
def test_model_yaml_says_what_the_profile_said(tmp_path: Path, options: dict[str, Any], model: str) -> None:
    profile = Profile(name="p", stack="triton-trtllm", image=IMAGE, model=f"org/{model}", gpus=1, engine=options)
    read = yaml.safe_load(files(triton_trtllm.plan(_context(tmp_path, profile)))["model.yaml"])
    fixed = {
        "model": f"org/{model}",
        "backend": "pytorch",
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    assert read == {**fixed, **options}
