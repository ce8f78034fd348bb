"""A prompt as the text of a YAML file, new or in place of one that is there."""

import json
import re
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from engine.inference.prompt import Sampling
from engine.prompt_record import SavedPrompt

if TYPE_CHECKING:
    import yaml

KEYS = ("name", "summary", "system", "history", "prompt", "style", "lora", "options", "tensors")
"""In the order in which they are written; `name` only where somebody wrote it"""
_HEAD = "# A prompt for the playground, and for `tritontui ask NAME --file {name}`.\n\n"
_BLANKS = " \t\r\n"
"""Those of YAML: to Python others are blank, too"""
_KEY = re.compile(r"([a-z]+)[ \t]*:")


def new_text(prompt: SavedPrompt) -> str:
    return _HEAD.format(name=prompt.name) + "".join(_block(key, value) for key, value in _data(prompt).items())


def changed_text(text: str, old: SavedPrompt, prompt: SavedPrompt) -> str:
    """The text of `old` with what differs in `prompt`: the other keys and the comments stay as they were written.

    Of a text whose keys do not stand at the beginnings of lines something else may come: read it back.
    """
    before, after = _data(old), _data(prompt)
    pieces = _pieces(text)
    written = []
    for key, piece in pieces:
        if key == "name" or (key in after and before.get(key) == after[key]) or not key:
            written.append(piece)
        elif key in after:
            written.append(_comments(piece) + _block(key, after[key]))
        else:  # what stands apart from it, as a head does, is not of this key
            written.append("".join(_comments(piece).rpartition("\n\n")[:2]))
    there = {key for key, _ in pieces}
    new = "".join(_block(key, value) for key, value in after.items() if key not in there)
    end = written.pop() if written and not pieces[-1][0] else ""
    body = "".join(written)
    gap = "" if not body or body.endswith("\n") else "\n"
    return body + gap + new + end


def _pieces(text: str) -> list[tuple[str, str]]:
    """Each key with its lines and the comments above it; under an empty key what stands before the first, or last."""
    pieces: list[tuple[str, str]] = []
    above: list[str] = []
    key, lines = "", list[str]()
    for line in text.splitlines(keepends=True):
        if match := _KEY.match(line):
            if lines:
                pieces.append((key, "".join(lines)))
            key, lines, above = match[1], [*above, line], []
        elif not line.strip(_BLANKS) or line.startswith("#"):
            above.append(line)
        else:
            lines += [*above, line]
            above = []
    if lines:
        pieces.append((key, "".join(lines)))
    return [*pieces, ("", "".join(above))] if above else pieces


def _comments(piece: str) -> str:
    """Those above its key."""
    lines = piece.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if _KEY.match(line)), 0)
    return "".join(lines[:end])


def _data(prompt: SavedPrompt) -> dict[str, Any]:
    request = prompt.request
    usual = Sampling()
    options = {
        field.name: list(value) if isinstance(value, tuple) else value
        for field in fields(Sampling)
        if (value := getattr(request.sampling, field.name)) != getattr(usual, field.name)
    }
    data: dict[str, Any] = {
        "summary": prompt.summary,
        "system": request.system,
        "history": [{turn.role.value: turn.text} for turn in request.history],
        "prompt": request.prompt,
        "style": request.style.value if request.style else None,
        "lora": request.lora,
        "options": options,
        "tensors": None if request.tensors is None else json.loads(request.tensors),
    }
    return {key: data[key] for key in KEYS if data.get(key)}


def _block(key: str, value: Any) -> str:
    import yaml

    flow = key == "tensors" or (key == "options" and "stop" not in value)
    return yaml.dump(
        {key: value if not flow else _Flow(value)},
        Dumper=_dumper(),
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )


class _Flow(dict[str, Any]):
    """Written on one line."""


@cache
def _dumper() -> "type[yaml.SafeDumper]":
    """Texts of several lines are written as they read."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        # One that ends with several line breaks would end the document, too.
        as_it_reads = "\n" in value.strip("\n") and not value.endswith("\n\n")
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if as_it_reads else None)

    def on_one_line(dumper: yaml.SafeDumper, value: _Flow) -> yaml.MappingNode:
        node = dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)
        _flow_below(node)
        return node

    Dumper.add_representer(str, text)
    Dumper.add_representer(_Flow, on_one_line)
    return Dumper


def _flow_below(node: "yaml.Node") -> None:
    import yaml

    if isinstance(node, yaml.CollectionNode):
        node.flow_style = True
        for item in node.value:
            for one in item if isinstance(item, tuple) else (item,):
                _flow_below(one)
