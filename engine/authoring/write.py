"""A profile as a commented YAML file."""

import json
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.authoring.schema import COMMENT, FILE_NAME, is_ours, schema_text
from engine.catalog import CatalogEntry, read_text
from engine.errors import InvalidProfile, OperationFailed, Refused
from engine.text import clean
from engine.whole_file import written_beside

if TYPE_CHECKING:
    from engine.settings import Settings

WIDTH = 118
_IN_BLOCKS = ("lora", "engine", "server", "fit", "env", "mounts")
"""One line for each key or item; the others stand on one line"""


def profile_text(
    data: Mapping[str, Any],
    *,
    head: Sequence[str] = (),
    comments: Mapping[str, str] | None = None,
    tail: Sequence[str] = (),
    schema: bool = True,
) -> str:
    """YAML that reads back as `data`: the keys in the schema's order, `comments` above them.

    `head` and `tail` are comments, each a paragraph. `schema`: for an editor, where the schema lies beside the file.
    """
    import yaml

    from engine.profile import Profile

    blocks = [COMMENT + "\n"] if schema else []
    if head:
        blocks.append("".join(_comment(text) for text in head))
    body = ""
    for key in sorted(data, key=list(Profile.model_fields).index):
        # By way of JSON: what stands twice in the data would become an alias.
        value = json.loads(json.dumps(data[key]))
        flow = None if isinstance(value, dict | list) and key not in _IN_BLOCKS else False
        above = _comment(comments[key]) if comments and key in comments else ""
        gap = "\n" if above and body else ""
        body += (
            gap
            + above
            + yaml.safe_dump(
                {key: value}, sort_keys=False, allow_unicode=True, width=float("inf"), default_flow_style=flow
            )
        )
    blocks.append(body)
    if tail:
        blocks.append("".join(_comment(text) for text in tail))
    return "\n".join(blocks)


def _comment(text: str) -> str:
    lines = textwrap.wrap(
        " ".join(clean(text).split()),
        WIDTH,
        subsequent_indent="  " if text.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(f"# {line}\n" for line in lines)


def checked(text: str, path: Path) -> CatalogEntry:
    """As it will be read back from that file. Raises `InvalidProfile` with every problem."""
    entry = read_text(path, text)
    if isinstance(entry, tuple):
        raise InvalidProfile(" ".join(problem.message for problem in entry), "Nothing has been written.")
    return entry


def user_folder(settings: "Settings") -> Path:
    return settings.config_dir / "profiles"


def save(text: str, folder: Path, name: str, *, overwrite: bool = False) -> Path:
    """Writes NAME.yaml, and beside it the schema that its first line names.

    Raises `InvalidProfile` for text that is no profile, `Refused` for a file that is there already, or a link to
    another, and `OperationFailed` when it cannot be written.
    """
    path = folder / f"{name}.yaml"
    checked(text, path)
    other = path.with_suffix(".yml")
    if path.is_symlink():
        raise Refused(f"{path} is a link to another file.", "Choose another name, or remove the link.")
    if path.exists() and not overwrite:
        raise Refused(f"{path} exists already.", "Choose another name, or write over it with --force.")
    if other.exists():
        raise Refused(f"{other} exists already.", "Choose another name, or remove it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _save_schema(folder / FILE_NAME)
        _write(path, text, overwrite=overwrite)
    except FileExistsError as error:
        raise Refused(f"{error.filename} is in the way.", "Choose another name or folder.") from error
    except OSError as error:
        raise OperationFailed(
            f"{error.filename or path} cannot be written: {error.strerror or error}.",
            "Choose another folder with --to.",
        ) from error
    return path


def _save_schema(path: Path) -> None:
    """Whatever else has that name stays as it is. Raises OSError."""
    text = schema_text()
    if path.is_symlink() or path.is_dir():
        return
    if path.exists():
        there = path.read_text(encoding="utf-8", errors="replace")
        if there == text or not is_ours(there):
            return
    _write(path, text, overwrite=True)


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    """What is there keeps its text until the new one is whole, and its mode. Raises OSError."""
    with written_beside(path, text) as new:
        path.touch(exist_ok=overwrite)
        shutil.copymode(path, new)
        new.replace(path)
