"""Tensors as JSON: what is taken, what is refused and how, and that nothing changes on the way there and back."""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.inference.channel import PromptFailed
from engine.inference.tensor_outputs import outputs_text, shortened
from engine.inference.tensors import Input, Tensor, example, infer_body, parse_inputs
from engine.inference.triton_model import TritonModel
from engine.inference.unfit import Unfit

RANGES = {"INT8": (-128, 127), "UINT8": (0, 255), "INT32": (-(2**31), 2**31 - 1), "UINT64": (0, 2**64 - 1)}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **{kind: st.integers(least, most) for kind, (least, most) in RANGES.items()},
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FP64": st.floats(allow_nan=False, allow_infinity=False),
    "BOOL": st.booleans(),
    "BYTES": st.text(st.characters(exclude_categories=["Cs"])),
}


def model(
    inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor] | None = None, *, decoupled: bool = False
) -> TritonModel:
    return TritonModel("classifier", inputs, decoupled, outputs or {})


def nested(values: list[Any], shape: list[int]) -> Any:
    if not shape:
        return values[0]
    step = math.prod(shape[1:])
    return [nested(values[index * step : (index + 1) * step], shape[1:]) for index in range(shape[0])]


def singles(values: Any) -> list[Any]:
    return [struct.pack("f", value) if isinstance(value, float) else singles(value) for value in values]


@given(st.data())
def test_a_tensor_comes_back_as_it_was_given(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(VALUES)))
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    count = math.prod(shape)
    given_ = nested(data.draw(st.lists(VALUES[kind], min_size=count, max_size=count)), shape)
    declared = tuple(data.draw(st.sampled_from((-1, length))) for length in shape)
    body = infer_body(model({"x": Tensor(kind, declared)}), json.dumps({"x": given_}))
    [sent] = json.loads(json.dumps(body))["inputs"]
    assert (sent["name"], sent["datatype"], sent["shape"]) == ("x", kind, shape)
    assert len(sent["data"]) == count
    answer = json.loads(outputs_text([sent]))
    if kind == "FP32":  # fewer digits that mean the same in single precision
        assert singles(answer["x"]) == singles(given_)
    else:
        assert answer == {"x": given_}


def test_what_may_be_written_instead_of_lists() -> None:
    declared = {"a": Tensor("FP32", (-1, 1)), "b": Tensor("BYTES", ()), "c": Tensor("INT8", (1, 3))}
    declared["d"] = Tensor("BOOL", (1,), optional=True)
    text = '{"a": 3, "b": {"b64": "/9g="}, "c": {"shape": [1, 3], "fill": -1}}'
    assert parse_inputs(model(declared), text) == (
        Input("a", "FP32", (1, 1), [3.0]),
        Input("b", "BYTES", (), [b"\xff\xd8"]),
        Input("c", "INT8", (1, 3), [-1, -1, -1]),
    )


IMAGE = Tensor("FP32", (-1, 2, 2))


@pytest.mark.parametrize(
    ("declared", "text", "said"),
    [
        (IMAGE, "{", "no JSON: Expecting property name enclosed in double quotes in line 1, column 2."),
        (IMAGE, "[" * 100_000, "cannot be read"),
        (IMAGE, "[1]", 'no JSON object. Write names with values, e.g. {"x": [1, 2]}.'),
        (IMAGE, "{}", "'classifier' needs x, which was not given. Its inputs are x FP32 [-1, 2, 2]."),
        (IMAGE, '{"y": 1}', "has no input 'y'. Its inputs are x FP32"),
        (IMAGE, '{"x": [[1, 2], [3, 4]]}', "x was given with the shape [2, 2]; the model takes [-1, 2, 2]. -1 stands"),
        (IMAGE, '{"x": [[[1, 2], [3]]]}', "x is ragged: its lists are not equally long in dimension 2."),
        (IMAGE, '{"x": [[[1, 2], [3, []]]]}', "x is ragged"),
        (IMAGE, '{"x": [[[1, 2], [3, "4"]]]}', 'x is FP32: it takes numbers, and "4" was given.'),
        (IMAGE, '{"x": [[[1, 2], [3, true]]]}', "it takes numbers, and true was given."),
        (IMAGE, '{"x": {"shape": [1, 2, 2], "fill": null}}', "it takes numbers, and null was given."),
        (IMAGE, '{"x": {"shape": [1, -2, 2], "fill": 0}}', "The shape of x is no list of lengths: [1, -2, 2]."),
        (Tensor("INT8", (-1,)), '{"x": {"shape": [99999999], "fill": 0}}', "x would have 99999999 values; at most"),
        (Tensor("INT8", (1,)), '{"x": 128}', "x is INT8: it takes whole numbers from -128 to 127, and 128 was given."),
        (Tensor("INT8", (1,)), '{"x": 1.0}', "and 1.0 was given."),
        (Tensor("BOOL", (1,)), '{"x": 1}', "it takes true or false, and 1 was given."),
        (Tensor("BYTES", (1,)), '{"x": "\\ud800"}', "it takes text, or bytes as"),
        (Tensor("BYTES", (1,)), '{"x": {"b64": "?"}}', "it takes text, or bytes as"),
        (Tensor("FP32", (1,)), f'{{"x": 1{"0" * 400}}}', "it takes numbers"),
        (Tensor("FP99", (1,)), '{"x": 1}', "No value can be written for the datatype 'FP99'."),
        (Tensor("FP16", (1,)), '{"x": 1}', "x of 'classifier' is FP16, which Triton neither takes nor gives as JSON."),
        (
            Tensor("BF16", (1,)),
            '{"x": 1}',
            "is BF16, which Triton neither takes nor gives as JSON. Send it by triton-grpc.",
        ),
        (
            Tensor("FP32", (1,)),
            '{"x": NaN}',
            "a value that is not finite, which JSON cannot carry. Send it by triton-grpc.",
        ),
        (Tensor("BYTES", (1,)), '{"x": {"b64": "/9g="}}', "bytes that are no text, which JSON cannot carry."),
    ],
)
def test_what_cannot_be_sent_is_said(declared: Tensor, text: str, said: str) -> None:
    with pytest.raises(Unfit) as failure:
        infer_body(model({"x": declared}), text)
    assert said in str(failure.value)


def test_what_http_has_no_way_for_is_said() -> None:
    with pytest.raises(Unfit, match=r"may answer with several responses.*Send it by triton-grpc\."):
        infer_body(model({"x": IMAGE}, decoupled=True), '{"x": [[[1, 2], [3, 4]]]}')
    with pytest.raises(Unfit, match="y of 'classifier' is FP16"):
        infer_body(model({"x": IMAGE}, {"y": Tensor("FP16", (1,))}), '{"x": [[[1, 2], [3, 4]]]}')


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.builds(
            Tensor,
            st.sampled_from((*VALUES, "FP16", "INT64")),
            st.lists(st.sampled_from((-1, 1, 3, 40)), max_size=4).map(tuple),
            st.booleans(),
        ),
    ),
    st.booleans(),
)
def test_every_example_is_taken(inputs: dict[str, Tensor], batched: bool) -> None:
    written = example(model(inputs), batched=batched)
    assert len(written) < 1000, "large tensors are given by their shape"
    parsed = parse_inputs(model(inputs), written)
    assert {tensor.name for tensor in parsed} == {name for name, tensor in inputs.items() if not tensor.optional}
    assert all(math.prod(tensor.shape) == len(tensor.data) for tensor in parsed)


def test_outputs_are_written_for_people() -> None:
    outputs = [
        {"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [0.10000000149011612, math.nan]},
        {"name": "q", "datatype": "FP64", "shape": (2,), "data": [0.10000000149011612, -math.inf]},
        {"name": "t", "datatype": "BYTES", "shape": [2], "data": ["€".encode(), b"\xff\xd8"]},
        {"name": "e", "datatype": "INT32", "shape": [0, 3], "data": []},
        {"name": "s", "datatype": "INT32", "shape": [], "data": [7]},
    ]
    assert outputs_text(outputs) == (
        '{\n  "p": [[0.1, "NaN"]],\n  "q": [0.10000000149011612, "-Infinity"],\n'
        '  "t": ["€", {"b64": "/9g="}],\n  "e": [],\n  "s": 7\n}'
    )


@pytest.mark.parametrize(
    "output",
    [
        {},
        {"name": "x", "shape": [2], "data": [1]},
        {"name": "x", "shape": ["2"], "data": [1, 2]},
        {"name": "x", "shape": [-1], "data": [1]},
        {"name": "x", "shape": [10**12, 0], "data": [1]},
        {"name": None, "shape": [1], "data": [1]},
        {"name": "x", "shape": [1], "data": "1"},
    ],
)
def test_rubbish_is_named(output: dict[str, Any]) -> None:
    with pytest.raises(PromptFailed, match="The server sent"):
        outputs_text([output])


def test_long_tensors_are_shortened_with_the_count_told() -> None:
    whole = outputs_text([{"name": "x", "datatype": "FP32", "shape": [5, 20], "data": [0.5] * 100}])
    assert json.loads(whole)["x"] == [[0.5] * 20] * 5, "whole unless it is asked otherwise"
    short = json.loads(shortened(whole))["x"]
    assert short == [[*[0.5] * 8, "… 12 more"]] * 3 + ["… 2 more"]
    several = shortened(f"{whole}\n{whole}\n")
    assert several.count("… 2 more") == 2
    assert shortened('{"cut": [1') == '{"cut": [1'
    huge = outputs_text([{"name": "x", "datatype": "FP32", "shape": [300_000], "data": [0.5] * 300_000}])
    assert json.loads(huge)["x"] == [*[0.5] * 8, "… 299992 more"]
    words = outputs_text([{"name": "x", "datatype": "BYTES", "shape": [9], "data": ["x" * 100_000] * 9}])
    assert json.loads(words)["x"][-1] == "… 1 more", "its size counts, too"
