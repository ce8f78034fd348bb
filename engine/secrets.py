"""Secrets by reference: `env` (the variable of the same name), `env:OTHER`, or `file:PATH`.

Values are read at the moment of launch and go nowhere but into the environment of what is launched.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.errors import Refused
from engine.text import clean, mask_secrets, mask_unfinished

LONGEST_FILE_BYTES = 64 * 1024
MASKED = "***"
_SHORTEST = 4
"""Characters of a value that is masked: a shorter one is no secret, and would be found everywhere"""
_SHORT = 8
"""One that is shorter is masked where it stands alone, not within words"""


class Masker:
    """Takes values that are secrets, and what looks like one, out of text that is to be read."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        lines = {line.strip() for value in values for line in clean(value).split("\n")}
        self._values = sorted((line for line in lines if len(line) >= _SHORTEST), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Lines that have ended."""
        for value in self._values:
            if value not in text:
                continue
            if len(value) < _SHORT:
                text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASKED, text)
            else:
                text = text.replace(value, MASKED)
        return mask_secrets(text)

    def unfinished(self, text: str) -> str:
        """A line of which more may come: without the beginning of a secret at its end, either."""
        text = self(text)
        for value in self._values:
            for length in range(min(len(value) - 1, len(text)), _SHORTEST - 1, -1):
                if text.endswith(value[:length]):
                    text = text[:-length] + MASKED
                    break
        return mask_unfinished(text)


def resolve_secrets(secrets: Mapping[str, str]) -> dict[str, str]:
    """Variable name -> value. Raises `Refused`, which names the variable and the reference but never a value."""
    return {variable: _resolve(variable, reference) for variable, reference in secrets.items()}


def _resolve(variable: str, reference: str) -> str:
    kind, _, where = reference.partition(":")
    if kind == "env":
        return _from_environment(variable, where or variable)
    if kind == "file" and where:
        return _from_file(variable, Path(where))
    # The reference is not repeated: someone may have written the secret itself there.
    raise Refused(
        f"The secret {variable} is not given by a reference.",
        "Write env, env:OTHER or file:PATH in the profile, never the secret itself.",
    )


def _from_environment(variable: str, source: str) -> str:
    value = os.environ.get(source, "")
    if not value:
        raise Refused(
            f"The secret {variable} is to come from the environment variable {source}, which is not set.",
            f"Export {source} in the shell that starts tritontui, or use file:PATH in the profile.",
        )
    return value


def _from_file(variable: str, path: Path) -> str:
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(LONGEST_FILE_BYTES + 1)
        value = content.decode("utf-8").strip()
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(
            f"The secret {variable} is to come from the file {path}, which cannot be read: {why}.",
            "Correct the path or the file's permissions.",
        ) from error
    except ValueError:
        # A decoder's message quotes the bytes, so it must not be chained.
        raise Refused(
            f"The file {path} for the secret {variable} is not text.", "Give a file with the token."
        ) from None
    if not value or "\0" in value or len(content) > LONGEST_FILE_BYTES:
        raise Refused(
            f"The file {path} for the secret {variable} is empty, too long or not text.",
            "Put the token alone into it.",
        )
    return value
