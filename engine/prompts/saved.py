"""Prompts in files that can be shared: found by name in some folders, filled in, and saved."""

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.catalog import NAME, SUFFIXES, files_in, is_shipped
from engine.errors import NotFound, OperationFailed, Refused
from engine.inference.prompt import PromptRequest, Turn
from engine.prompt_record import SavedPrompt
from engine.prompts.prompt_file import NAME_RULE, InvalidPrompt, json_tensors, read, read_text
from engine.text import clean_line
from engine.whole_file import written_beside

if TYPE_CHECKING:
    from engine.settings import Settings

BLANK = re.compile(r"\{\{([a-z][a-z0-9_]*)(?:=([^{}\n]*))?\}\}")
"""`{{name}}` or `{{name=default}}`, without spaces: what a template of another kind writes is text"""


@dataclass(frozen=True, slots=True)
class SavedPrompts:
    entries: dict[str, SavedPrompt]
    """By their names, in order"""
    problems: tuple[str, ...]
    """A sentence for each file that is wrong, or hidden by another of its folder"""


class BlanksLeft(InvalidPrompt):
    """Blanks of a saved prompt have neither a value nor a default."""

    def __init__(self, prompt: str, names: Sequence[str]) -> None:
        super().__init__(
            f"The prompt {prompt} has blanks that are not filled in: {_listed(names)}.", "Give each a value."
        )
        self.names = tuple(names)


def load(settings: "Settings") -> SavedPrompts:
    """All that can be read; of several with one name that of the first folder. Blocks."""
    entries: dict[str, SavedPrompt] = {}
    problems: list[str] = []
    for folder in settings.prompt_folders:
        here: dict[str, Path] = {}
        for path in _files(folder, problems):
            if path.stem in here:
                problems.append(f"{clean_line(str(path))}: {here[path.stem].name} beside it has the same name.")
                continue
            here[path.stem] = path
            if path.stem in entries:
                continue
            try:
                entries[path.stem] = read(path, shipped=is_shipped(settings, path))
            except InvalidPrompt as error:
                problems.append(str(error))
    return SavedPrompts({name: entries[name] for name in sorted(entries)}, tuple(problems))


def find(settings: "Settings", wanted: str) -> SavedPrompt:
    """By name, or by path: one has a slash or a YAML file's suffix. Blocks.

    Raises `NotFound`, and `InvalidPrompt` when the file is wrong.
    """
    if "/" in wanted or wanted.endswith(SUFFIXES):
        path = _expanded(settings.working_dir, wanted)
        if not os.path.lexists(path):
            raise NotFound(f"There is no file {clean_line(str(path))}.", "Correct the path.")
        return read(path, shipped=is_shipped(settings, path))
    for folder in settings.prompt_folders:
        for suffix in SUFFIXES:
            path = folder / f"{wanted}{suffix}"
            if NAME.fullmatch(wanted) and os.path.lexists(path):
                return read(path, shipped=is_shipped(settings, path))
    known = load(settings).entries
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(known)}." if known else ""
    raise NotFound(f"There is no saved prompt {clean_line(wanted)}.", hint)


def blanks(request: PromptRequest) -> dict[str, str | None]:
    """The blanks in its texts, in their order, with their defaults; None where one must be filled in."""
    found: dict[str, str | None] = {}
    for text in (request.system, *(turn.text for turn in request.history), request.prompt):
        for name, equals in ((match[1], match[2]) for match in BLANK.finditer(text)):
            if found.get(name) is None:
                found[name] = equals
    return found


def fill(saved: SavedPrompt, values: Mapping[str, str]) -> PromptRequest:
    """The request with its blanks filled in; values are taken as they are. A default fills each blank of its name.

    Raises `BlanksLeft`, and `InvalidPrompt` that names a value that there is no blank for.
    """
    known = blanks(saved.request)
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            told = f"Did you mean {near[0]}?" if near else f"It has {_listed(known)}." if known else "It has none."
            raise InvalidPrompt(f"The prompt {saved.name} has no blank {clean_line(name)}.", told)
    given = {name: values.get(name, default) for name, default in known.items()}
    if left := [name for name, value in given.items() if value is None]:
        raise BlanksLeft(saved.name, left)
    return _with_texts(saved.request, lambda text: BLANK.sub(lambda match: given[match[1]] or "", text))


def save(settings: "Settings", prompt: SavedPrompt, *, overwrite: bool = False) -> Path:
    """Into the user's folder of prompts, as one step; comments of what is written over stay. Returns the file.

    Model, transport and time limits of the request are not saved. Raises `Refused` when the name is taken (by one that
    is not the user's own, whatever `overwrite` says), `InvalidPrompt` for what no file can say, and `OperationFailed`
    when it cannot be written.
    """
    if not NAME.fullmatch(prompt.name):
        raise InvalidPrompt(f"{clean_line(prompt.name)!r} cannot be a prompt's name.", NAME_RULE)
    prompt = _as_saved(prompt)
    folder = settings.config_dir / "prompts"
    target = folder / f"{prompt.name}.yaml"
    old = _replaced(settings, target, overwrite=overwrite)
    try:
        text = _text(prompt, target, old)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with written_beside(target, text) as new:
            if old is None:
                try:
                    # Nobody else's new file of that name is overwritten.
                    target.touch(mode=0o600, exist_ok=False)
                except FileExistsError:
                    raise _taken(prompt.name, target, "Choose another.") from None
            new.replace(target)
    except OSError as error:
        raise OperationFailed(
            f"The folder {folder} cannot be written: {error.strerror or error}.",
            "Correct its owner, permissions or free space, or set TRITONTUI_CONFIG_DIR.",
        ) from error
    return target


def _files(folder: Path, problems: list[str]) -> Iterable[Path]:
    try:
        return files_in(folder)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        problems.append(f"The folder {clean_line(str(folder))} cannot be read: {error.strerror or error}.")
        return ()


def _expanded(working_dir: Path, wanted: str) -> Path:
    with contextlib.suppress(RuntimeError):  # no home of that name: then it is no file either
        return working_dir / Path(wanted).expanduser()
    return working_dir / wanted


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _with_texts(request: PromptRequest, change: Callable[[str], str]) -> PromptRequest:
    return replace(
        request,
        system=change(request.system),
        history=tuple(Turn(turn.role, change(turn.text)) for turn in request.history),
        prompt=change(request.prompt),
    )


def _as_saved(prompt: SavedPrompt) -> SavedPrompt:
    """As reading the file will give it. Raises `InvalidPrompt` for tensors that are no JSON object."""
    request = prompt.request
    try:
        tensors = json_tensors(request.tensors)
    except ValueError as error:
        raise InvalidPrompt(f"The tensors of {prompt.name} cannot be saved: {error}.") from error
    kept = PromptRequest(
        prompt=request.prompt,
        system=request.system,
        history=request.history,
        style=request.style,
        sampling=request.sampling,
        lora=request.lora,
        tensors=tensors,
    )
    return SavedPrompt(
        prompt.name,
        _with_texts(kept, lambda text: text.replace("\r\n", "\n").replace("\r", "\n")),
        prompt.summary,
    )


def _replaced(settings: "Settings", target: Path, *, overwrite: bool) -> SavedPrompt | None:
    """What is written over. Raises `Refused` when that may not be, and `InvalidPrompt` when it is no prompt."""
    for folder in settings.prompt_folders:
        for suffix in SUFFIXES:
            path = folder / f"{target.stem}{suffix}"
            if not os.path.lexists(path):
                continue
            if path != target or not overwrite:
                raise _taken(
                    target.stem,
                    path,
                    "Choose another." if path != target else "Choose another, or write over it with --force.",
                )
            if path.is_symlink():
                raise Refused(f"{path} is a link to another file.", "Choose another name, or remove the link.")
            return read(path)
    return None


def _taken(name: str, path: Path, remedy: str) -> Refused:
    return Refused(f"The name {name} is taken by {clean_line(str(path))}.", remedy)


def _text(prompt: SavedPrompt, target: Path, old: SavedPrompt | None) -> str:
    """Raises `InvalidPrompt` when it would not be read back as it is."""
    from engine.prompts.prompt_text import changed_text, new_text

    if old is not None:
        text = changed_text(target.read_text(encoding="utf-8"), old, prompt)
        with contextlib.suppress(InvalidPrompt):
            if _reads_as(target, text, prompt):
                return text
    text = new_text(prompt)
    if _reads_as(target, text, prompt):
        return text
    raise InvalidPrompt(f"The prompt {prompt.name} cannot be written as YAML without a change to its texts.")


def _reads_as(path: Path, text: str, prompt: SavedPrompt) -> bool:
    """Raises `InvalidPrompt`."""
    found = read_text(path, text)
    return (found.request, found.summary) == (prompt.request, prompt.summary)
