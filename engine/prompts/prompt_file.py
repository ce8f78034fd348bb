"""One prompt in a YAML file: what may stand in it, and what is wrong with it, with line and nearest valid key."""

import difflib
import itertools
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.catalog import NAME
from engine.errors import EngineError, Exit
from engine.inference.prompt import PromptRequest, Role, Sampling, Style, Turn
from engine.profile_text import Location, TextProblem, parse
from engine.profile_words import as_yaml, reason, shown, wanted
from engine.prompt_record import SavedPrompt
from engine.prompts.options import OPTIONS
from engine.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

MAX_BYTES = 1 << 20
_NEEDED = ("prompt", "tensors")
"""One of them"""
NAME_RULE = "It takes up to 63 lower-case letters, digits, dots and hyphens, beginning with a letter or digit."


class InvalidPrompt(EngineError):
    """A prompt cannot be read, or not be sent as it stands."""

    exit_code = Exit.INVALID


def read(path: Path, *, shipped: bool = False) -> SavedPrompt:
    """Raises `InvalidPrompt`, with every problem of the file."""
    try:
        if not path.is_file():
            raise _invalid(path, [(None, "This is no prompt: it must be a regular file.")])
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _invalid(path, [(None, f"The file cannot be read: {error.strerror or error}.")]) from error
    if len(content) > MAX_BYTES:
        raise _invalid(path, [(None, f"This is no prompt: it is larger than {MAX_BYTES >> 20} MiB.")])
    try:
        return read_text(path, content.decode("utf-8"), shipped=shipped)
    except UnicodeDecodeError as error:
        raise _invalid(path, [(None, f"The file is not UTF-8 text (byte {error.start}).")]) from error


def read_text(path: Path, text: str, *, shipped: bool = False) -> SavedPrompt:
    """The text as if it stood in that file. Raises `InvalidPrompt`."""
    from pydantic import ValidationError

    name = path.stem
    if not NAME.fullmatch(name):
        raise _invalid(path, [(None, f"Its name cannot be a prompt's. {NAME_RULE}")])
    try:
        _require_mapping(text)
        data, lines = parse(text)
    except TextProblem as error:
        raise _invalid(path, [(error.line, str(error))]) from error
    if not any(difflib.get_close_matches(shown(str(key)), _NEEDED, n=1, cutoff=0.8) for key in data):
        raise _invalid(path, [(1, "This is no prompt: it has neither `prompt` nor `tensors`.")])
    try:
        file: Any = _schema().model_validate(data)
        if file.name not in (None, name):
            raise _invalid(path, [(lines[("name",)], f"`name` is {file.name}, and the file is called {name}.")])
        return SavedPrompt(name, _request(file), file.summary, path, shipped)
    except ValidationError as error:
        raise _invalid(path, _problems(error.errors(include_url=False), lines)) from error


def _request(file: Any) -> PromptRequest:
    given = file.options.model_dump(exclude_none=True)
    if "stop" in given:
        given["stop"] = tuple(given["stop"])
    return PromptRequest(
        prompt=file.prompt,
        system=file.system,
        history=tuple(Turn(Role(role), text) for turn in file.history for role, text in turn.items()),
        style=Style(file.style) if file.style else None,
        sampling=Sampling(**given),
        lora=file.lora,
        tensors=file.tensors,
    )


@cache
def _schema() -> "type[BaseModel]":
    """Made when first needed: pydantic is not imported before."""
    from typing import Annotated, Literal

    from pydantic import AfterValidator, ConfigDict, Field, create_model

    config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    one_turn = Field(min_length=1, max_length=1)
    options: dict[str, Any] = {}
    for option in OPTIONS:
        kind: Any = list[str] if option.kind is tuple else option.kind
        options[option.name] = (kind if option.least is None else Annotated[kind, Field(ge=option.least)], None)
    sampling: Any = create_model("Options", __config__=config, **options)
    keys: dict[str, Any] = {
        "name": (str | None, None),
        "summary": (str, ""),
        "system": (str, ""),
        "history": (list[Annotated[dict[Literal["user", "assistant"], str], one_turn]], []),
        "prompt": (str, ""),
        "style": (Literal["chat", "completion"] | None, None),
        "lora": (str | None, None),
        "options": (sampling, sampling()),
        "tensors": (Annotated[dict[str, Any] | str | None, AfterValidator(json_tensors)], None),
    }
    model: type[BaseModel] = create_model("PromptFile", __config__=config, **keys)
    return model


def json_tensors(value: "dict[str, Any] | str | None") -> str | None:
    """As JSON in one spelling. Raises ValueError for what is no object with the tensors' names."""
    if value is None:
        return None
    try:
        data = json.loads(value) if isinstance(value, str) else value
        if not isinstance(data, dict) or not data:
            raise ValueError("a mapping from the tensors' names to their values is wanted")
        return json.dumps(data, ensure_ascii=False, allow_nan=False)
    except json.JSONDecodeError as error:
        raise ValueError(f"this is no JSON: {error}") from error
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not all of it can be said in JSON: {error}") from error


def _require_mapping(text: str) -> None:
    """Raises `TextProblem`, in words that fit a prompt."""
    import yaml

    try:
        first = list(itertools.islice(yaml.parse(text, yaml.SafeLoader), 3))[-1]
    except yaml.YAMLError:
        return  # the real parser tells what is wrong
    if not isinstance(first, yaml.MappingStartEvent):
        raise TextProblem(1, f"A prompt is a mapping of keys to values; valid keys: {', '.join(_keys(()))}.")


def _problems(errors: "Sequence[ErrorDetails]", lines: dict[Location, int]) -> list[tuple[int | None, str]]:
    """Line and sentence, in the file's order; one for each place."""
    found: dict[Location, tuple[int | None, str]] = {}
    for error in errors:
        where: Location = ()
        for part in error["loc"]:  # what pydantic adds for the kind of a value is left out
            if (*where, part) in lines:
                where = (*where, part)
        found.setdefault(where, (lines.get(where, 1), _sentence(error, where)))
    return sorted(found.values(), key=lambda one: one[0] or 0)


def _sentence(error: "ErrorDetails", where: Location) -> str:
    key = shown(".".join(map(str, where)))
    if error["type"] == "extra_forbidden":
        valid = _keys(where[:-1])
        near = difflib.get_close_matches(shown(str(where[-1])), valid, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(valid)}."
        return f"Unknown key `{key}`; {hint}"
    if where[:1] == ("history",):
        return f"`{key}`: a turn is `user: TEXT` or `assistant: TEXT`."
    if error["type"] == "value_error":
        return f"`{key}`: {reason(error)}."
    keys = f"; valid keys: {', '.join(_keys(where))}" if error["type"] == "model_type" else ""
    return f"`{key}` is {as_yaml(error['input'])}: it must be {wanted([error])}{keys}."


def _keys(where: Location) -> list[str]:
    return [option.name for option in OPTIONS] if where == ("options",) else list(_schema().model_fields)


def _invalid(path: Path, problems: "Sequence[tuple[int | None, str]]") -> InvalidPrompt:
    told = (f"{path}:{line}: {text}" if line else f"{path}: {text}" for line, text in problems)
    return InvalidPrompt(clean_line(" ".join(told)))
