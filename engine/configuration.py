"""The configuration file: what holds for every console and command of a machine or a user.

Imported only where there is one: the console's first paint waits for it, and for pydantic and YAML with it.
"""

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from engine.errors import EngineError, Exit
from engine.profile import Duration
from engine.profile_text import Location, TextProblem, parse
from engine.profile_words import as_yaml, reason, shown, wanted
from engine.text import clean_line

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_BYTES = 64 << 10


class InvalidConfiguration(EngineError):
    """A configuration file cannot be read, or says what it cannot. Nothing is done in spite of it."""

    exit_code = Exit.INVALID


class Configuration(BaseModel):
    """One file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)

    read_only: bool = False
    """Nothing may be changed"""
    audit: Annotated[str, StringConstraints(min_length=1)] | None = None
    """The audit's file, relative to this one's folder"""
    drain: Duration | None = None
    """How long a swap waits for requests under way: seconds, or 90s, 2m"""
    bell: bool | None = None
    """Whether a notice that begins rings the terminal's bell"""
    keep_prompts: bool = True
    """Whether prompts are kept with what came of them"""


@dataclass(frozen=True, slots=True)
class Configured:
    """What several files say together."""

    read_only: str = ""
    """The file that says that nothing may be changed; empty when none does"""
    audit: Path | None = None
    drain_s: float | None = None
    bell: bool = True
    keep_prompts: bool = True


def load(files: Sequence[Path]) -> Configured:
    """What they say together, the machine's file before the user's. Raises `InvalidConfiguration`.

    What forbids changes, or keeping prompts, and where the audit goes, a later file cannot undo; it may say another
    time to drain, and whether notices ring.
    """
    read_only, audit, drain_s, bell, keep_prompts = "", None, None, True, True
    for path in files:
        found = read(path)
        read_only = read_only or (clean_line(str(path)) if found.read_only else "")
        audit = audit or _beside(path, found.audit)
        drain_s = drain_s if found.drain is None else found.drain
        bell = bell if found.bell is None else found.bell
        keep_prompts = keep_prompts and found.keep_prompts
    return Configured(read_only, audit, drain_s, bell, keep_prompts)


def read(path: Path) -> Configuration:
    """Raises `InvalidConfiguration`, with every problem of the file."""
    text = _text(path)
    try:
        if _is_empty(text):
            return Configuration()
        data, lines = parse(text)
    except TextProblem as error:
        raise _invalid(path, [(error.line, str(error))]) from error
    try:
        return Configuration.model_validate(data)
    except ValidationError as error:
        raise _invalid(path, _problems(error.errors(include_url=False), lines)) from error


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise _invalid(path, [(None, "This is no configuration: it must be a regular file.")])
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _invalid(path, [(None, f"The file cannot be read: {error.strerror or error}.")]) from error
    if len(content) > MAX_BYTES:
        raise _invalid(path, [(None, f"This is no configuration: it is larger than {MAX_BYTES >> 10} KiB.")])
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(path, [(None, f"The file is not UTF-8 text (byte {error.start}).")]) from error


def _is_empty(text: str) -> bool:
    """Nothing but comments. Raises `TextProblem` for what is no mapping, in words that fit a configuration."""
    import yaml

    try:
        events = list(itertools.islice(yaml.parse(text, yaml.SafeLoader), 3))
    except yaml.YAMLError:
        return False  # the real parser tells what is wrong
    if isinstance(events[-1], yaml.StreamEndEvent) or getattr(events[-1], "value", None) == "":
        return True
    if not isinstance(events[-1], yaml.MappingStartEvent):
        raise TextProblem(1, f"A configuration is a mapping of keys to values; valid keys: {', '.join(_keys())}.")
    return False


def _problems(errors: "Sequence[ErrorDetails]", lines: dict[Location, int]) -> list[tuple[int, str]]:
    """Line and sentence, in the file's order."""
    return sorted((lines.get((str(error["loc"][0]),), 1), _sentence(error)) for error in errors)


def _sentence(error: "ErrorDetails") -> str:
    key = shown(str(error["loc"][0]))
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _keys(), n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"valid keys: {', '.join(_keys())}."
        return f"Unknown key `{key}`; {hint}"
    if error["type"] == "value_error":
        return f"`{key}`: {reason(error)}."
    return f"`{key}` is {as_yaml(error['input'])}: it must be {wanted([error])}."


def _keys() -> list[str]:
    return list(Configuration.model_fields)


def _invalid(path: Path, problems: "Sequence[tuple[int | None, str]]") -> InvalidConfiguration:
    told = (f"{path}:{line}: {text}" if line else f"{path}: {text}" for line, text in problems)
    return InvalidConfiguration(clean_line(" ".join(told)))


def _beside(path: Path, audit: str | None) -> Path | None:
    """Raises `InvalidConfiguration`."""
    try:
        return (path.parent / Path(audit).expanduser()).resolve() if audit else None
    except (OSError, RuntimeError) as error:  # no home of that name, or links without an end
        raise _invalid(path, [(None, f"`audit` is {audit}, which is no path: {error}.")]) from error
