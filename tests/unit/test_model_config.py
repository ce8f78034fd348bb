"""`config.pbtxt` by protobuf: written and read back, and what a hostile one is answered with."""

import subprocess
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import InvalidProfile
from engine.stacks.model_config import LARGEST_BYTES, config_text, messages, read_config


def test_the_messages_are_tritonclients_and_come_without_grpc_and_numpy() -> None:
    script = """
import sys
from engine.stacks.model_config import messages, config_text
config = messages().ModelConfig(name="m", max_batch_size=4)
assert "grpc" not in sys.modules and "numpy" not in sys.modules, "slow"
text = config_text(config)
from tritonclient.grpc import model_config_pb2, service_pb2
assert isinstance(config, model_config_pb2.ModelConfig)
assert messages().ModelConfig is model_config_pb2.ModelConfig
assert service_pb2.ModelConfigResponse(config=config).config == config
print(text)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == 'name: "m"\nmax_batch_size: 4'


@given(
    name=st.text(st.characters(codec="utf-8")),
    parameters=st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))),
    dims=st.lists(st.integers(-1, 2**63 - 1)),
)
def test_what_is_printed_reads_back(name: str, parameters: dict[str, str], dims: list[int]) -> None:
    types = messages()
    config = types.ModelConfig(name=name)
    config.instance_group.add(count=1, kind=types.ModelInstanceGroup.KIND_MODEL)
    config.input.add(name=name, data_type=types.TYPE_STRING, dims=dims)
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    assert read_config(config_text(config)) == config


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name: "a"\nbackend vllm\n', r"m/config.pbtxt:2:9: .*Expected .:.\. Correct"),
        ('name: "a"\n\n  max_batch_size: ${size}\n', r":3:19: .*Couldn't parse integer: \$"),
        ('bakend: "vllm"', r":1:1: .*no field named .bakend"),
        ("instance_group [ { kind: KIND_MODL } ]", r":1:26: .*no value named KIND_MODL"),
        ('name: "a" name: "b"', r"multiple .name. fields"),
        ("max_batch_size: 99999999999", r"out of range"),
        ('name: "open', r":1:7: .*missing ending quote"),
        ('parameters { key: "a" value { strin_value: "\x1b]52;c;aGk=\x07" } }', r":1:31: .*strin_value"),
        ('name: "\ud800"', r":1:7: "),
        ("\0", r":1:1: "),
    ],
)
def test_a_wrong_one_is_a_sentence_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidProfile, match=said) as caught:
        read_config(text, "m/config.pbtxt")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 400


def complaint(text: str) -> str:
    """Empty when it is read."""
    try:
        read_config(text)
    except InvalidProfile as error:
        return str(error)
    return ""


PIECES = [
    "name",
    ":",
    '"',
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    "${",
    "\\",
    "\n",
    "#",
    ";",
    ",",
    "'",
    "-1",
    "1e9",
    ".inf",
    "\x1b",
]


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from([*PIECES, "input", "step", "key", "ensemble_scheduling"])).map(" ".join))
@example('name: "' + "\\" * 1001)
@example("input " * 1000 + "{" * 1000)
@example("max_batch_size: " + "9" * 10_000)
@example("[type.googleapis.com/x] { }")
def test_nothing_but_a_sentence_comes_of_any_text(text: str) -> None:
    said = complaint(text)
    assert not said or said.startswith("config.pbtxt:")
    assert "\x1b" not in said


@pytest.mark.parametrize(
    "unit", ['input { name: "a" dims: [1] }\n', "#", "{", '"', "\\", 'name: "a"\n"a"\n', " ", "[", "input {", "\n"]
)
def test_the_longest_that_is_read_holds_nobody_up(unit: str) -> None:
    began = time.process_time()
    assert len(complaint(unit * (LARGEST_BYTES // len(unit)))) < 400
    assert time.process_time() - began < 10
