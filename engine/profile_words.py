"""A wrong value, and what is wanted in its place, in the words of YAML: whoever writes it knows no other."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

LONGEST_VALUE = 60
_WHOLE, _MAPPING, _LIST, _SWITCH = "a whole number", "a mapping of keys to values", "a list", "true or false"
# By pydantic's type of error; what stands in braces is of the error's own context.
_WANTED: Mapping[str, str] = {
    "string_type": "text",
    "string_too_short": "text of at least {min_length} character",
    "string_too_long": "text of at most {max_length} characters",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "list_type": _LIST,
    "literal_error": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
}


def wanted(errors: "Sequence[ErrorDetails]") -> str:
    """What the value must be: `a whole number, or 'auto'`. `errors`: all that are said of one value."""
    words = ", or ".join(dict.fromkeys(map(_wanted, errors)))
    given = errors[0]["input"]
    number = isinstance(given, int | float)  # YAML's true, too
    return words + ("; put it in quotes" if number and any(one["type"] == "string_type" for one in errors) else "")


def _wanted(error: "ErrorDetails") -> str:
    words = _WANTED.get(error["type"])
    return words.format(**error.get("ctx", {})) if words else reason(error)


def reason(error: "ErrorDetails") -> str:
    """In the validator's own words."""
    message = error["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def as_yaml(value: Any) -> str:
    """As it could stand in a file, cut where it is long; `empty` for nothing, which a key without a value is."""
    match value:
        case None:
            return "empty"
        case str():
            return shown(repr(value))
        case float() if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return shown(_dumped(value))


def shown(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "…"


def _dumped(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf)
    return text.removesuffix("...\n").strip()
