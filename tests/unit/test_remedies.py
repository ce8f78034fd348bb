"""Changes to a profile, computed from what a log says."""

import json
import socket
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.authoring.changed import changed
from engine.diagnose.catalogue import catalogue
from engine.diagnose.causes import cause_of
from engine.diagnose.remedies import LORA_RANKS, REMEDIES
from engine.diagnose.run import Found
from engine.diagnosis import Change
from engine.profile import Profile
from engine.stacks import vllm_options

Paths = dict[str, Any]


def profile(**keys: Any) -> Profile:
    return Profile.model_validate({"name": "p", "stack": "vllm", "image": "i:1", "model": "m", **keys})


def remedy(name: str, captures: dict[str, str], **keys: Any) -> Paths:
    return {change.path: change.value for change in REMEDIES[name](captures, profile(**keys))}


def engine(**options: Any) -> dict[str, Any]:
    return {"engine": options}


TP4 = {**engine(tensor_parallel_size=4), "gpus": 4}


@pytest.mark.parametrize(
    ("name", "captures", "keys", "wanted"),
    [
        # Heads that the tensor parallel size does not divide
        ("largest_divisor_tp", {"heads": "14", "tp": "4"}, TP4, {"engine.tensor_parallel_size": 2, "gpus": 2}),
        ("largest_divisor_tp", {"heads": "28", "tp": "8"}, {**engine(), "gpus": 8}, {"engine.tensor_parallel_size": 4}),
        ("largest_divisor_tp", {"heads": "14"}, TP4, {"engine.tensor_parallel_size": 2, "gpus": 2}),
        ("largest_divisor_tp", {"heads": "7", "tp": "4"}, TP4, {"engine.tensor_parallel_size": 1, "gpus": 1}),
        ("largest_divisor_tp", {"heads": "32", "tp": "4"}, TP4, {}),
        (
            "largest_divisor_tp",
            {"heads": "25", "tp": "6"},
            {**engine(**{"tensor-parallel-size": 6, "pipeline_parallel_size": 2}), "gpus": 12},
            {"engine.tensor-parallel-size": 5, "gpus": 10},
        ),
        (
            "largest_divisor_tp",
            {"heads": "10", "tp": "4"},
            {**engine(tensor_parallel_size=4), "gpus": [0, 1, 2, 3]},
            {"engine.tensor_parallel_size": 2},
        ),
        # More ranks than GPUs
        ("gpus_for_parallel", {"world": "4", "gpus": "2"}, {**engine(tensor_parallel_size=4), "gpus": 2}, {"gpus": 4}),
        (
            "gpus_for_parallel",
            {"world": "8", "gpus": "3"},
            {**engine(tensor_parallel_size=4, pipeline_parallel_size=2), "gpus": "all"},
            {"engine.tensor_parallel_size": 1},
        ),
        (
            "gpus_for_parallel",
            {"world": "4", "gpus": "3"},
            {**engine(tensor_parallel_size=4), "gpus": "all"},
            {"engine.tensor_parallel_size": 2},
        ),
        ("gpus_for_parallel", {"world": "4", "gpus": "0"}, {**engine(tensor_parallel_size=4), "gpus": "all"}, {}),
        ("world_size", {"tp": "4", "pp": "2"}, {"stack": "triton-trtllm", "gpus": 4}, {"gpus": 8}),
        (
            "utilization_as_share",
            {"value": "95.0"},
            engine(gpu_memory_utilization=95),
            {"engine.gpu_memory_utilization": 0.95},
        ),
        ("utilization_as_share", {"value": "-1"}, engine(gpu_memory_utilization=-1), {}),
        ("world_size", {"world": "2"}, {"stack": "triton-trtllm", "gpus": 1}, {"gpus": 2}),
        ("world_size", {"tp": "2", "pp": "1"}, {"stack": "triton-trtllm", "gpus": 2}, {}),
        ("world_size", {"tp": "2", "pp": "1"}, {"gpus": 1}, {}),
        # Memory
        (
            "utilization_that_fits",
            {"free": "60.21", "total": "79.1", "utilization": "0.9"},
            {},
            {"engine.gpu_memory_utilization": 0.75},
        ),
        ("utilization_that_fits", {"free": "40", "total": "80"}, {}, {"engine.gpu_memory_utilization": 0.49}),
        ("utilization_that_fits", {"free": "2", "total": "80"}, {}, {}),
        ("utilization_that_fits", {"free": "70", "total": "80"}, engine(gpu_memory_utilization=0.8), {}),
        ("utilization_that_fits", {"free": "70", "total": "0.00"}, {}, {}),
        ("utilization_that_fits", {"free": "70", "total": "80"}, {"stack": "triton"}, {}),
        ("estimated_length", {"estimate": "5391", "asked": "8192"}, {}, {"engine.max_model_len": 5376}),
        ("estimated_length", {"estimate": "5,391"}, engine(block_size=32), {"engine.max_model_len": 5376}),
        ("estimated_length", {"limit": "2048"}, engine(**{"max-model-len": 4096}), {"engine.max-model-len": 2048}),
        ("estimated_length", {"estimate": "12"}, {}, {}),
        ("estimated_length", {"estimate": "9000"}, engine(max_model_len=8192), {}),
        ("estimated_length", {"limit": "100"}, {"stack": "triton-trtllm"}, {"engine.max_seq_len": 96}),
        ("estimated_length", {"limit": "100"}, {"stack": "triton-trtllm", "engines": "e"}, {}),
        ("fewer_sequences", {"sequences": "1024"}, {}, {"engine.max_num_seqs": 512}),
        ("fewer_sequences", {}, engine(max_num_seqs=64), {"engine.max_num_seqs": 32}),
        ("fewer_sequences", {}, engine(max_num_seqs=1), {}),
        ("fewer_sequences", {}, {}, {"engine.max_num_seqs": 128}),
        ("larger_shm", {}, {}, {"shm_size": "8g"}),
        ("larger_shm", {}, TP4, {"shm_size": "16g"}),
        ("larger_shm", {}, {"shm_size": "20g"}, {"shm_size": "40g"}),
        ("larger_shm", {}, {"ipc": "host"}, {}),
        ("larger_shm", {}, {"runtime": "process"}, {}),
        # Options
        ("half_dtype", {}, {}, {"engine.dtype": "half"}),
        ("half_dtype", {}, engine(dtype="bfloat16"), {"engine.dtype": "half"}),
        ("half_dtype", {}, engine(dtype="float16"), {}),
        ("half_dtype", {}, {"stack": "triton"}, {}),
        ("quantization_dropped", {}, engine(quantization="awq"), {"engine.quantization": None}),
        ("quantization_dropped", {}, {}, {}),
        ("trust_remote_code", {}, {}, {"engine.trust_remote_code": True}),
        ("trust_remote_code", {}, engine(trust_remote_code=False), {"engine.trust_remote_code": True}),
        ("trust_remote_code", {}, engine(trust_remote_code=True), {}),
        ("max_lora_rank", {"rank": "33"}, engine(max_lora_rank=16), {"engine.max_lora_rank": 64}),
        ("max_lora_rank", {"rank": "600"}, {}, {}),
        ("spawn_workers", {}, {"env": {"A": "b"}}, {"env.VLLM_WORKER_MULTIPROC_METHOD": "spawn"}),
        ("kind_model", {}, {"stack": "triton", "repository": "r"}, {}),
    ],
)
def test_what_would_mend_it(name: str, captures: dict[str, str], keys: dict[str, Any], wanted: Paths) -> None:
    assert remedy(name, captures, **keys) == wanted


@pytest.mark.parametrize(
    ("option", "keys", "wanted"),
    [
        ("swap_space", engine(swap_space=4), {"engine.swap_space": None}),
        ("--swap-space=4", engine(**{"swap-space": 4}), {"engine.swap-space": None}),
        ("disable_log_requests", engine(disable_log_requests=True), {"engine.disable_log_requests": None}),
        (
            "disable_log_requests",
            engine(disable_log_requests=False),
            {"engine.disable_log_requests": None, "engine.enable_log_requests": True},
        ),
        ("task", engine(task="embed"), {"engine.task": None, "engine.runner": "pooling"}),
        ("task", engine(task="auto"), {"engine.task": None}),
        ("max_modle_len", engine(max_modle_len=8), {"engine.max_modle_len": None, "engine.max_model_len": 8}),
        ("max_modle_len", engine(max_modle_len=8, max_model_len=4), {"engine.max_modle_len": None}),
        (
            "cuda_graph_sizes",
            engine(cuda_graph_sizes=8),
            {"engine.cuda_graph_sizes": None, "engine.cudagraph_capture_sizes": 8},
        ),
        ("cuda_graph_sizes", engine(cuda_graph_sizes=[8]), {}),
        ("max_seq_len_to_capture", engine(max_seq_len_to_capture=8), {"engine.max_seq_len_to_capture": None}),
        (
            "guided_decoding_backend",
            engine(guided_decoding_backend="xgrammar"),
            {"engine.guided_decoding_backend": None, "engine.structured_outputs_config.backend": "xgrammar"},
        ),
        (
            "guided_decoding_backend",
            {**engine(guided_decoding_backend="xgrammar"), "stack": "triton-vllm"},
            {"engine.guided_decoding_backend": None},
        ),
        (
            "enable_multimodal_encoder_data_parallel",
            engine(enable_multimodal_encoder_data_parallel=True),
            {"engine.enable_multimodal_encoder_data_parallel": None, "engine.mm_encoder_tp_mode": "data"},
        ),
        ("rope_scaling", engine(rope_scaling={"factor": 2}), {}),
        ("rope_theta", engine(rope_theta=1e6), {}),
        ("made_up", engine(made_up=[1]), {"engine.made_up": None}),
        ("made_up", {}, {}),
        ("--log-frobnicate", {**engine(log_frobnicate=1), "stack": "triton"}, {"engine.log_frobnicate": None}),
        ("frob", {"stack": "triton-vllm", "server": {"frob": 1}}, {"server.frob": None}),
    ],
)
def test_an_option_has_a_new_name_or_is_taken_out(option: str, keys: dict[str, Any], wanted: Paths) -> None:
    assert remedy("renamed_or_removed_option", {"option": option}, **keys) == wanted


def test_the_new_name_is_one_that_its_version_knows() -> None:
    keys = engine(override_pooler_config="x")
    old = remedy("renamed_or_removed_option", {"option": "override_pooler_config", "version": "0.9.2"}, **keys)
    new = remedy("renamed_or_removed_option", {"option": "override_pooler_config"}, **keys)
    assert old == {"engine.override_pooler_config": None}
    assert new == {"engine.override_pooler_config": None, "engine.pooler_config": "x"}


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_is_replaced_by_a_free_one(taken: int) -> None:
    found = remedy("free_port", {"port": str(taken)}, expose={"http": taken, "metrics": taken + 1}, stack="triton")
    port = found.pop("expose.http")
    assert not found
    assert port > taken + 1
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
    assert not remedy("free_port", {"port": str(taken)}, expose={"http": "auto"})
    assert not remedy("free_port", {"port": "1"}, expose={"http": taken})
    assert not remedy("free_port", {}, expose={"http": taken})


def test_all_ports_stay_exposed_where_none_was_named() -> None:
    found = remedy("free_port", {"port": "8001"}, stack="triton-vllm")
    assert found.pop("expose.grpc") > 8002
    assert found == {"expose.http": 8000, "expose.metrics": 8002}


def test_what_was_there_is_told() -> None:
    changes = REMEDIES["estimated_length"]({"estimate": "4096"}, profile(**engine(**{"max-model-len": 8192})))
    assert changes == (Change("engine.max-model-len", 4096, 8192),)


@pytest.mark.parametrize("env", ["\n  HF_HUB_OFFLINE: 1\n  A: b", " {HF_HUB_OFFLINE: 1, A: b}", " {HF_HUB_OFFLINE: 1}"])
def test_what_is_to_go_goes(env: str) -> None:
    text = f"name: p\nstack: vllm\nimage: i:1\nmodel: m\nenv:{env}\ngpus: 1\n"
    offline = profile(env={"HF_HUB_OFFLINE": "1"})
    signature = catalogue()["model-not-cached"]
    changes = cause_of(Found(signature, 1, {}, signature.weight), profile=offline).changes
    assert changes == (Change("env.HF_HUB_OFFLINE", None, "1"),)
    assert changed(text, changes).count("HF_HUB_OFFLINE") == 0
    assert "gpus: 1" in changed(text, changes)


def test_the_catalogue_and_the_remedies_know_each_other() -> None:
    assert {one.fix for one in catalogue().values() if one.fix} == REMEDIES.keys()


def test_ranks_are_those_that_vllm_takes() -> None:
    assert {1, *LORA_RANKS} == set(vllm_options._CHOICES["max_lora_rank"])


CAPTURES = st.dictionaries(
    st.sampled_from(
        (
            *("free", "total", "utilization", "estimate", "asked", "limit", "heads", "tp", "pp", "option", "port"),
            *("rank", "world", "gpus", "dtype", "sequences", "version"),
        )
    ),
    st.sampled_from(("0", "1", "7", "8000", "0.5", "-1", "1,024", "1e9", "", "x", "dtype", "9" * 40, "--swap-space"))
    | st.text(max_size=8),
)
PROFILES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "stack": st.sampled_from(("vllm", "triton-vllm", "triton-trtllm", "triton")),
        "gpus": st.sampled_from((0, 1, 4, "all", [0, 1])),
        "engine": st.dictionaries(
            st.sampled_from(("tensor_parallel_size", "max-model-len", "swap_space", "dtype", "quantization", "task")),
            st.sampled_from((1, 4, "half", True, [1], {"a": 1}, 0.5)),
        ),
    },
    optional={"expose": st.sampled_from(({"http": 8000}, {"http": "auto"}, {})), "shm_size": st.integers(1, 1 << 40)},
)


@given(CAPTURES, PROFILES)
@settings(max_examples=60, deadline=None)
def test_whatever_a_log_says_the_change_makes_a_profile(captures: dict[str, str], keys: dict[str, Any]) -> None:
    import yaml

    # By way of JSON: what stands twice in the data would become an alias.
    text = yaml.safe_dump(json.loads(json.dumps({"name": "p", "image": "i:1", "model": "m", **keys})))
    for computed in REMEDIES.values():
        changes = computed(captures, profile(**keys))
        for change in changes:
            assert isinstance(change.value, get_args(str | int | float | bool | None))
            assert change.value is None or change.value != change.before
        Profile.model_validate(yaml.safe_load(changed(text, changes)))
