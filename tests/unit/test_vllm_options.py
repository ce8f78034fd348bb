"""Options of vLLM by version: what is refused, what is said, and how the command line is written."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidProfile
from engine.profile import Profile
from engine.settings import Settings
from engine.stacks.context import PlanContext
from engine.stacks.vllm_options import check_engine_options, check_server_options, server_words, table

READ = table().versions
OPTIONS_OF_THE_ENGINE = {
    "0.8.5": 105,
    "0.9.2": 126,
    "0.10.1.1": 128,
    "0.10.2": 132,
    "0.11.0": 138,
    "0.11.1": 155,
    "0.12.0": 149,
    "0.13.0": 150,
    "0.15.1": 160,
    "0.17.1": 174,
    "0.19.1": 184,
    "0.22.1": 208,
    "0.24.0": 213,
    "0.28.0": 228,
    "0.32.0": 255,
}
"""Fields of AsyncEngineArgs, counted in these versions' sources"""
STABLE = (
    *("model", "dtype", "quantization", "tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization"),
    *("max_model_len", "max_num_seqs", "enforce_eager", "trust_remote_code", "kv_cache_dtype", "enable_lora", "seed"),
)


def context(runtime: str = "docker") -> PlanContext:
    folder = Path("/nowhere")
    profile = Profile(name="p", stack="vllm", image="vllm/vllm-openai:latest")
    return PlanContext(profile, folder / "p.yaml", "", runtime, Settings(folder, folder, folder, (), folder))


def refusal(options: dict[str, Any], version: str | None, *, engine: bool = False, at_least: bool = False) -> str:
    """Empty when all are let pass."""
    check = check_engine_options if engine else check_server_options
    try:
        check(context(), options, version, at_least=at_least)
    except InvalidProfile as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("version", "count"), OPTIONS_OF_THE_ENGINE.items())
def test_the_table_has_each_version_s_options(version: str, count: int) -> None:
    there = {name for name, span in table().engine.items() if table().spans(span, version)}
    assert len(there) == count
    assert there >= set(STABLE)


def test_the_frontend_s_options_are_there_in_every_version() -> None:
    for version in READ:
        there = {name for name, span in table().server.items() if table().spans(span, version)}
        assert there >= {*STABLE, "lora_modules", "api_key", "chat_template", "tool_call_parser", "middleware", "port"}
        assert not there & {"", "no"}


@given(st.sampled_from(sorted(table().engine)), st.sampled_from(READ))
def test_an_option_is_refused_exactly_outside_of_its_versions(name: str, version: str) -> None:
    first, last = (READ.index(one) for one in table().engine[name])
    said = refusal({name: None}, version, engine=True)
    at = READ.index(version)
    if first <= at <= last:
        assert said == ""
    else:
        assert f"`{name}` is not known to vLLM {version} in this image" in said
        assert (f"it existed until {READ[last]}" if at > last else f"it exists since {READ[first]}") in said


@given(st.sampled_from(sorted(table().server)), st.sampled_from(READ))
def test_what_is_advised_is_known_to_the_same_version(name: str, version: str) -> None:
    said = refusal({name: None}, version)
    if " Use `" in said:
        advised = said.split(" Use `")[1].split("`")[0]
        assert table().spans(table().server[advised], version)


@pytest.mark.parametrize(
    ("options", "version", "words"),
    [
        (
            {"swap_space": 4},
            "0.19.0",
            ["`swap_space` is not known to vLLM 0.19.0 in this image: it existed until 0.17.1.", "Take it out: "],
        ),
        ({"disable_log_requests": True}, "0.17.1", ["it existed until 0.16.0", "Use `enable_log_requests` instead"]),
        ({"rope_theta": 1e6}, "0.11.1", ["until 0.11.0", "Use `hf_overrides` instead"]),
        ({"task": "embed"}, "0.13.0", ["Use `runner` or `convert` instead"]),
        ({"cuda_graph_sizes": [1]}, "0.13.0", ["Use `cudagraph_capture_sizes` instead"]),
        ({"max_seq_len_to_capture": 1}, "0.11.0", ["Use `cuda_graph_sizes` instead"]),
        ({"max_seq_len_to_capture": 1}, "0.13.0", ["Use `cudagraph_capture_sizes` instead"]),
        ({"guided_decoding_backend": "x"}, "0.12.0", ["Use `structured_outputs_config` instead"]),
        ({"override_pooler_config": {}}, "0.12.0", ["Use `pooler_config` instead"]),
        ({"runner": "pooling"}, "0.9.2", ["it exists since 0.10.1.1", "Use `task`, or a later image"]),
        ({"device_ids": [0]}, "0.11.0", ["it exists since 0.24.0", "Take it out, or use a later image"]),
        ({"max_modle_len": 1}, "0.11.0", ["not an option of vLLM 0.11.0", "Did you mean `max_model_len`?"]),
        ({"tp": 2}, "0.11.0", ["Did you mean `tensor_parallel_size`?"]),
        ({"zzzzzzzz": 2}, "0.11.0", ["Take it out, or correct it."]),
        (
            {"swap_space": 4, "max_modle_len": 1, "enforce_eager": "yes"},
            "0.32.0",
            ["`enforce_eager` is true or false", "Besides: `swap_space` is not", "`max_modle_len` is not"],
        ),
    ],
)
def test_what_is_said_of_a_wrong_option(options: dict[str, Any], version: str, words: list[str]) -> None:
    said = refusal(options, version)
    assert said.startswith("/nowhere/p.yaml: `")
    for word in words:
        assert word in said


def test_what_belongs_to_the_command_line_alone_is_told_apart() -> None:
    assert "`chat_template` is an option of `vllm serve`, and not of the engine" in refusal(
        {"chat_template": "x"}, "0.11.0", engine=True
    )
    assert refusal({"chat_template": "x"}, "0.11.0") == ""
    assert "Did you mean `max_model_len`?" in refusal({"max-model-len": 1}, "0.11.0", engine=True)
    assert refusal({"max-model-len": 1, "compilation_config.level": 3}, "0.11.0") == ""
    assert refusal({"disable_log_requests": True}, "0.10.2") == ""  # on the command line it outlived the engine's
    assert "until" in refusal({"disable_log_requests": True}, "0.10.2", engine=True)


def test_between_two_versions_that_were_read_either_s_options_pass() -> None:
    assert "0.11.2" not in READ
    assert refusal({"lora_extra_vocab_size": 1, "max_num_seqs": 1}, "0.11.2") == ""
    assert "until 0.11.0" in refusal({"rope_theta": 1}, "0.11.2")
    assert refusal({"max_num_seqs": 1}, "0.11.1.post1") == ""


def test_what_cannot_be_judged_is_warned_of() -> None:
    planned = context()
    check_server_options(planned, {"max_model_len": 1, "swap_space": 1, "brand_new": 1}, "0.99.0")
    assert [("swap_space" in warning, "brand_new" in warning) for warning in planned.warnings] == [
        (True, False),
        (False, True),
    ]
    planned = context()
    check_server_options(planned, {"anything": 1}, "0.7.3")
    assert planned.warnings == ["Options are not checked for vLLM 0.7.3: they are known from 0.8.5 on."]
    planned = context()
    check_server_options(planned, {"anything": 1}, None)
    assert planned.warnings == []


def test_a_lower_bound_refuses_what_has_gone_and_lets_pass_what_may_have_come() -> None:
    assert "swap_space" in refusal({"swap_space": 1}, "0.24.0", at_least=True)
    assert refusal({"kda_prefill_backend": "x", "brand_new": 1}, "0.24.0", at_least=True) == ""
    assert "since" in refusal({"kda_prefill_backend": "x"}, "0.24.0")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"enforce_eager": "true"}, "`enforce_eager` is true or false"),
        ({"tensor_parallel_size": 0}, "`tensor_parallel_size` is a whole number from 1"),
        ({"tensor_parallel_size": True}, "whole number"),
        ({"pipeline_parallel_size": "2"}, "whole number"),
        ({"gpu_memory_utilization": 90}, "up to 1, and not 90"),
        ({"gpu_memory_utilization": "0.9"}, "share of the GPU's memory"),
    ],
)
@pytest.mark.parametrize("version", ["0.11.0", None])
def test_values_are_checked_where_they_are_certain(options: dict[str, Any], words: str, version: str | None) -> None:
    assert words in refusal(options, version)
    assert words in refusal(options, version, engine=True)


@pytest.mark.parametrize("options", [{"api_key": "sk-123456"}, {"hf_token": "hf_abcdefgh"}, {"api_key": ["sk-123456"]}])
def test_secrets_are_no_options(options: dict[str, Any]) -> None:
    said = refusal(options, None)
    assert "is a secret" in said
    assert "secrets: {" in said
    assert "123456" not in said
    assert "abcdefgh" not in said


@pytest.mark.parametrize(
    ("options", "version", "words"),
    [
        ({"max_model_len": 8192}, "0.11.0", ["--max-model-len", "8192"]),
        ({"enforce_eager": True}, "0.11.0", ["--enforce-eager"]),
        ({"enforce_eager": False}, "0.11.0", ["--no-enforce-eager"]),
        ({"enforce_eager": False}, "0.8.5", []),
        ({"disable_log_stats": False, "hf_token": False}, None, []),
        ({"enable_prefix_caching": False}, None, ["--no-enable-prefix-caching"]),
        ({"hf_overrides": {"a": [1]}}, None, ["--hf-overrides", '{"a":[1]}']),
        ({"compilation_config.level": 3}, None, ["--compilation-config.level", "3"]),
        ({"served_model_name": ["a", "b"]}, None, ["--served-model-name", "a", "b"]),
        ({"allowed_origins": ["*"]}, None, ["--allowed-origins", '["*"]']),
        ({"middleware": ["a.B", "c.D"]}, None, ["--middleware", "a.B", "--middleware", "c.D"]),
        ({"device_ids": [2, 3]}, None, ["--device-ids", "2,3"]),
        ({"seed": -1}, None, ["--seed", "-1"]),
        ({"response_role": "--x"}, None, ["--response-role=--x"]),
    ],
)
def test_the_command_line(options: dict[str, Any], version: str | None, words: list[str]) -> None:
    assert server_words(options, version) == words


@pytest.mark.parametrize("value", [None, [], [None]])
def test_an_option_without_a_value_is_refused(value: object) -> None:
    with pytest.raises(InvalidProfile, match="`seed` has no value"):
        server_words({"seed": value}, None)


PLAIN = sorted(set(table().server) - table().booleans - {"allowed_origins", "allowed_methods", "allowed_headers"})
VALUES = st.one_of(st.integers(), st.text(min_size=1), st.booleans())


@given(st.dictionaries(st.sampled_from([*PLAIN, *sorted(table().booleans)]), VALUES), st.sampled_from(READ))
def test_each_option_is_one_flag_that_reads_back(options: dict[str, Any], version: str) -> None:
    words = server_words(options, version)
    read: dict[str, str | bool] = {}
    while words:
        flag, equals, value = words.pop(0).partition("=")
        assert flag.startswith("--")
        name = flag[2:].replace("-", "_")
        follows = bool(words) and not words[0].startswith("--")
        if equals:
            read[name] = value
        elif name in options and not isinstance(options[name], bool):
            assert follows
            read[name] = words.pop(0)
        else:
            read[name if name in options else name.removeprefix("no_")] = name in options
    left_out = options.keys() - read.keys()
    assert all(options[name] is False for name in left_out)
    assert {name: str(value) for name, value in options.items() if name in read} == {
        name: str(value) for name, value in read.items()
    }
