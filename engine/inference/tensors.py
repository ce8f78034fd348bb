"""Inputs of any Triton model from JSON: what its metadata asks for, an example of it, and what is sent."""

import base64
import difflib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.inference.sse import excerpt
from engine.inference.unfit import Unfit

if TYPE_CHECKING:
    from engine.inference.triton_model import TritonModel

MOST_VALUES = 1 << 22
"""Of one tensor"""
EXAMPLE_VALUES = 16
"""Of a tensor that an example writes out; a larger one is given by its shape"""
EXAMPLE_LENGTH = 4
"""Of a dimension that may have any, in an example"""
NOT_IN_JSON = frozenset(("FP16", "BF16"))
"""Triton refuses both in JSON, in requests and answers (server `src/http_server.cc`)"""

_INTEGERS = {f"{sign}INT{bits}": bits for sign in ("", "U") for bits in (8, 16, 32, 64)}
_FLOATS = ("FP16", "BF16", "FP32", "FP64")


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output as the model declares it."""

    datatype: str
    """Triton's word: BYTES, BOOL, INT32 …"""
    shape: tuple[int, ...]
    """-1 for any length; the batch's dimension included where the model has one"""
    optional: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor as it is sent."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any]
    """Flat, row by row; bytes for BYTES"""


def parse_inputs(model: "TritonModel", text: str) -> tuple[Input, ...]:
    """The inputs that `text` gives: a JSON object of names with (nested) lists, a scalar for a tensor of one value, or
    `{"shape": [1, 3, 224, 224], "fill": 0.5}`. Bytes that are no text are `{"b64": "…"}`.

    Raises `Unfit` with what was given and what the model takes.
    """
    given = _object(text)
    declared = f"Its inputs are {inputs_named(model)}."
    for name in given:
        if name not in model.inputs:
            near = difflib.get_close_matches(name, model.inputs, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise Unfit(f"Model {model.name!r} has no input {excerpt(name, 80)!r}.", hint + declared)
    missing = [name for name, tensor in model.inputs.items() if not tensor.optional and name not in given]
    if missing:
        raise Unfit(f"Model {model.name!r} needs {', '.join(missing)}, which was not given.", declared)
    return tuple(_input(name, model.inputs[name], value) for name, value in given.items())


def infer_body(model: "TritonModel", text: str) -> dict[str, Any]:
    """The body of `POST /v2/models/…/infer`. Raises `Unfit`, also for what JSON cannot carry and gRPC can."""
    remedy = "Send it by triton-grpc."
    if model.decoupled:
        raise Unfit(
            f"Model {model.name!r} may answer with several responses, which Triton's HTTP has no way for.", remedy
        )
    inputs = parse_inputs(model, text)
    sent = {tensor.name: model.inputs[tensor.name] for tensor in inputs}
    for name, tensor in (*sent.items(), *model.outputs.items()):
        if tensor.datatype in NOT_IN_JSON:
            raise Unfit(
                f"{name} of {model.name!r} is {tensor.datatype}, which Triton neither takes nor gives as JSON.", remedy
            )
    return {"inputs": [_as_json(tensor, remedy) for tensor in inputs]}


def example(model: "TritonModel", *, batched: bool = False) -> str:
    """JSON that `parse_inputs` takes, of the required inputs. `batched`: the first dimension counts requests."""
    lines = []
    for name, tensor in model.inputs.items():
        if tensor.optional:
            continue
        any_length = 1 if tensor.datatype == "BYTES" else EXAMPLE_LENGTH
        shape = [any_length if length < 0 else length for length in tensor.shape]
        if batched and shape and tensor.shape[0] < 0:
            shape[0] = 1
        value = _sample(tensor.datatype)
        if math.prod(shape) > EXAMPLE_VALUES:
            made: Any = {"shape": shape, "fill": value}
        else:
            made = value
            for length in reversed(shape):
                made = [made] * length
        lines.append(f"  {json.dumps(name)}: {json.dumps(made)}")
    return "{\n" + ",\n".join(lines) + "\n}" if lines else "{}"


def inputs_named(model: "TritonModel") -> str:
    """For sentences: `x FP32 [-1, 4], y INT64 [1] (optional)`."""
    named = [
        f"{name} {tensor.datatype} {list(tensor.shape)}{' (optional)' if tensor.optional else ''}"
        for name, tensor in model.inputs.items()
    ]
    return excerpt(", ".join(named)) or "unknown"


def converter(datatype: str) -> Callable[[Any], Any]:
    """What makes a value of that datatype of a JSON value, or raises ValueError with what it takes.

    Raises `Unfit` for a datatype that nobody knows.
    """
    if datatype in _INTEGERS:
        bits = _INTEGERS[datatype]
        least, most = (0, (1 << bits) - 1) if datatype[0] == "U" else (-(1 << bits - 1), (1 << bits - 1) - 1)

        def integer(value: Any) -> int:
            if type(value) is int and least <= value <= most:
                return value
            raise ValueError(f"whole numbers from {least} to {most}")

        return integer
    if datatype in _FLOATS:
        return _number
    if datatype == "BOOL":
        return _truth
    if datatype == "BYTES":
        return _bytes
    raise Unfit(f"No value can be written for the datatype {excerpt(datatype, 40)!r}.")


def _object(text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except json.JSONDecodeError as error:
        raise Unfit(f"The tensors are no JSON: {error.msg} in line {error.lineno}, column {error.colno}.") from error
    except (RecursionError, ValueError) as error:
        raise Unfit("The tensors cannot be read: nested too deeply, or a number too long.") from error
    if not isinstance(given, dict):
        raise Unfit("The tensors are no JSON object.", 'Write names with values, e.g. {"x": [1, 2]}.')
    return given


def _input(name: str, tensor: Tensor, value: Any) -> Input:
    convert = converter(tensor.datatype)
    shape, values = _unfolded(name, tensor, value)
    fits = len(shape) == tensor.rank and all(
        wanted in (-1, length) for wanted, length in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        raise Unfit(
            f"Input {name} was given with the shape {list(shape)}; the model takes {list(tensor.shape)}.",
            "-1 stands for any length." if -1 in tensor.shape else "",
        )
    try:
        if isinstance(value, dict) and "fill" in value:
            data: Sequence[Any] = [convert(value["fill"])] * math.prod(shape)
        else:
            data = [convert(one) for one in values]
    except ValueError as error:
        wrong = next((one for one in values if not _converts(convert, one)), None)
        given = excerpt(json.dumps(wrong), 60)
        raise Unfit(f"Input {name} is {tensor.datatype}: it takes {error}, and {given} was given.") from error
    return Input(name, tensor.datatype, shape, data)


def _unfolded(name: str, tensor: Tensor, value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Shape and values, row by row."""
    if isinstance(value, dict) and value.keys() == {"shape", "fill"}:
        shape = value["shape"]
        if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
            raise Unfit(f"The shape of {name} is no list of lengths: {excerpt(json.dumps(shape), 80)}.")
        if math.prod(shape) > MOST_VALUES:
            raise Unfit(f"Input {name} would have {math.prod(shape)} values; at most {MOST_VALUES} are sent.")
        return tuple(shape), [value["fill"]]
    if not isinstance(value, list):
        return (1,) * tensor.rank, [value]
    lengths: list[int] = []
    level: list[Any] = [value]
    while level and any(isinstance(node, list) for node in level):
        widths = {len(node) if isinstance(node, list) else None for node in level}
        if len(widths) > 1:
            raise Unfit(f"Input {name} is ragged: its lists are not equally long in dimension {len(lengths)}.")
        lengths.append(len(level[0]))
        level = [child for node in level for child in node]
    if len(level) > MOST_VALUES:
        raise Unfit(f"Input {name} has {len(level)} values; at most {MOST_VALUES} are sent.")
    return tuple(lengths), level


def _converts(convert: Callable[[Any], Any], value: Any) -> bool:
    try:
        convert(value)
    except ValueError:
        return False
    return True


def _number(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise ValueError("numbers")


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def _bytes(value: Any) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
            return base64.b64decode(value["b64"], validate=True)
    except ValueError:  # a lone surrogate, or no base64
        pass
    raise ValueError('text, or bytes as {"b64": "…"}')


def _as_json(tensor: Input, remedy: str) -> dict[str, Any]:
    data = tensor.data
    if tensor.datatype == "BYTES":
        try:
            data = [value.decode() for value in data]
        except UnicodeDecodeError as error:
            raise Unfit(f"Input {tensor.name} has bytes that are no text, which JSON cannot carry.", remedy) from error
    elif tensor.datatype in _FLOATS and not all(map(math.isfinite, data)):
        raise Unfit(f"Input {tensor.name} has a value that is not finite, which JSON cannot carry.", remedy)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "data": list(data)}


def _sample(datatype: str) -> Any:
    if datatype in _INTEGERS:
        return 1
    return {"BYTES": "text", "BOOL": False}.get(datatype, 0.5)
