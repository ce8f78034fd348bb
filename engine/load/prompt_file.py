"""Reads the prompts of a file: one a line, or JSON Lines. Errors name the file, and the line where there is one."""

import json
import stat
from difflib import get_close_matches
from pathlib import Path

from engine.errors import EngineError, Exit
from engine.load.workload import Line
from engine.text import clean_line

MOST_BYTES = 64 << 20
LONGEST_LINE = 1 << 20
"""Characters"""
JSON_LINES = (".jsonl", ".ndjson", ".json")
KEYS = ("prompt", "system", "max_tokens")


class PromptFileError(EngineError):
    """A file with prompts cannot be used."""

    exit_code = Exit.INVALID


def read(path: Path) -> tuple[Line, ...]:
    """Blocks. Empty lines are passed over. Raises `PromptFileError`."""
    shown = clean_line(str(path))
    try:
        path = path.expanduser()
        # A pipe, as of a shell's <(…), is open in one process only, and would be waited for without end.
        if path.exists() and not (stat.S_ISREG(path.stat().st_mode) or path.is_dir()):
            raise PromptFileError(f"{shown} is no plain file.", "Write the prompts to a file, and give that.")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise PromptFileError(f"The prompts in {shown} cannot be read: {why}.") from error
    if len(data) > MOST_BYTES:
        raise PromptFileError(f"{shown} is larger than {MOST_BYTES >> 20} MiB.", "Use a part of it.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PromptFileError(f"{shown}, line {line}, is not UTF-8.", "Convert the file to UTF-8.") from None
    parse = _object if path.suffix.lower() in JSON_LINES else _plain
    lines = tuple(
        parse(line.rstrip("\r"), f"{shown}, line {number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    )
    if not lines:
        raise PromptFileError(f"{shown} has no prompt.", "Write one a line.")
    return lines


def _plain(line: str, where: str) -> Line:
    if len(line) > LONGEST_LINE:
        raise PromptFileError(f"{where}, has more than {LONGEST_LINE >> 20} Mi characters.")
    return Line(line)


def _object(line: str, where: str) -> Line:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise PromptFileError(f"{where}, is no JSON: {getattr(error, 'msg', error)}.") from None
    if not isinstance(value, dict):
        raise PromptFileError(f"{where}, is no JSON object.", 'Write {"prompt": "…"}.')
    for key in value:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(KEYS)}."
            raise PromptFileError(f"{where}, has the unknown key {clean_line(key)[:40]!r}.", remedy)
    prompt, system, most = value.get("prompt"), value.get("system", ""), value.get("max_tokens")
    if not isinstance(prompt, str) or not prompt:
        raise PromptFileError(f"{where}: `prompt` is missing or no text.")
    if not isinstance(system, str):
        raise PromptFileError(f"{where}: `system` is no text.")
    if len(prompt) + len(system) > LONGEST_LINE:
        raise PromptFileError(f"{where}, has more than {LONGEST_LINE >> 20} Mi characters.")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise PromptFileError(f"{where}: `max_tokens` is no whole number above 0.")
    return Line(prompt, system, most)
