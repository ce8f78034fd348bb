"""Secrets by reference: `env` (the variable of the same name), `env:OTHER`, or `file:PATH`.

Values are read at the moment of launch and go nowhere but into the environment of what is launched.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from engine.errors import Refused

LONGEST_FILE_BYTES = 64 * 1024


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
