"""What a model's output tensors say, as JSON: names with nested lists, one line an output."""

import base64
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.inference.channel import PromptFailed
from engine.inference.sse import excerpt

MOST_CHARACTERS = 1 << 19
"""Of a text with all values; beyond it the tensors are shortened. An answer may be twice as long (`output.py`)"""
MOST_VALUES = 1 << 15
"""Of an output, likewise: to write more would hold up the prompts that are timed meanwhile"""
SHOWN = 8
"""Values of a list that are shown when it is shortened"""
SHOWN_LISTS = 3
_NOT_FINITE = {math.inf: "Infinity", -math.inf: "-Infinity"}


def outputs_text(outputs: Iterable[Mapping[str, Any]]) -> str:
    """Of outputs with name, datatype, shape and data, as Triton's JSON has them, or bytes and numbers from gRPC.

    Bytes that are no text are `{"b64": "…"}`, numbers that are not finite their names. Raises `PromptFailed`.
    """
    try:
        text = _laid_out(dict(_values(output) for output in outputs))
    except RecursionError as error:
        raise PromptFailed("The server sent an output that is nested too deeply to be read.") from error
    return text if len(text) <= MOST_CHARACTERS else shortened(text)


def shortened(text: str) -> str:
    """For display: long lists with the first values and the count of those left out. Text that is no JSON stays."""
    try:
        parts = [_laid_out({name: _short(value) for name, value in part.items()}) for part in _objects(text)]
    except (ValueError, RecursionError, AttributeError):
        return text
    return "\n".join(parts)


def _values(output: Mapping[str, Any]) -> tuple[str, Any]:
    name, shape, data = output.get("name"), output.get("shape"), output.get("data")
    readable = isinstance(name, str) and isinstance(shape, list | tuple) and isinstance(data, list)
    if not readable or not all(type(length) is int and length >= 0 for length in shape or ()):
        raise PromptFailed(f"The server sent an output that cannot be read: {excerpt(str(dict(output)))}")
    lengths, flat = list(shape or ()), list(_flat(data or []))
    if math.prod(lengths) != len(flat):
        raise PromptFailed(
            f"The server sent {len(flat)} values as {excerpt(str(name), 80)} of shape {excerpt(str(lengths), 80)}."
        )
    nested = _nested(flat, lengths) if flat else []
    if len(flat) > MOST_VALUES:
        nested = _short(nested)
    return str(name), _readable(nested, single=output.get("datatype") == "FP32")


def _nested(values: list[Any], lengths: list[int]) -> Any:
    if len(lengths) < 2:
        return values if lengths else values[0]
    step = len(values) // lengths[0]
    return [_nested(values[start : start + step], lengths[1:]) for start in range(0, len(values), step)]


def _flat(data: list[Any]) -> Iterator[Any]:
    for value in data:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value


def _readable(value: Any, *, single: bool) -> Any:
    if isinstance(value, list):
        return [_readable(one, single=single) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return _NOT_FINITE.get(value, "NaN")
    return _fewest_digits(value) if single else value


def _fewest_digits(value: float) -> float:
    """The shortest number that is the same in single precision: 0.1, not 0.10000000149011612."""
    rounded = float(f"{value:.7g}")
    try:
        if struct.pack("f", rounded) == struct.pack("f", value):
            return rounded
    except OverflowError:
        return value
    return float(f"{value:.9g}")


def _laid_out(named: Mapping[str, Any]) -> str:
    lines = (f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in named.items())
    return "{\n" + ",\n".join(lines) + "\n}" if named else "{}"


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """One after another: a model that answers with several responses gives an object each."""
    decoder, at = json.JSONDecoder(), 0
    text = text.strip()
    while at < len(text):
        found, at = decoder.raw_decode(text, at)
        yield found
        while at < len(text) and text[at].isspace():
            at += 1


def _short(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    most = SHOWN_LISTS if any(isinstance(one, list) for one in value) else SHOWN
    shown = [_short(one) for one in value[:most]]
    return shown if len(value) <= most else [*shown, f"… {len(value) - most} more"]
