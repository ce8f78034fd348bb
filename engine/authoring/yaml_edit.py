"""Single values of a YAML text, set or taken out where they stand: all else stays as it was written."""

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

Scalar = str | int | float | bool | None
_ALIAS = re.compile(r"\s*:\s*(\*[^\s,\[\]{}]+)")
_COLON = re.compile(r"\s*:")
_COMMA = re.compile(r"\s*,[ \t]*")
_INDENT = "  "


class NotEditableError(Exception):
    """It is written so that this cannot be done; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a key and its value stand: `begin <= position < end`, in characters."""

    key: "yaml.Node"
    value: "yaml.Node"
    begin: int
    colon: int
    """Behind it"""
    end: int
    """Of what is written as its value, without what comes after on its line"""
    alias: bool


def edited(text: str, path: str, value: Scalar) -> str:
    """`path`: keys with dots between them; those that are missing are made. None takes the last one out.

    Raises `NotEditableError`. Whoever calls it reads the result back: what aliases share is not looked after here.
    """
    import yaml

    try:
        # Not the C parser: its positions are not those of characters in every case. It takes no tab before a comment.
        root = yaml.compose(text.replace("\t", " "), yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise NotEditableError("it is not valid YAML") from error
    if not isinstance(root, yaml.MappingNode):
        raise NotEditableError("it is no mapping of keys to values")
    return _Editor(text).edit(root, path, value)


class _Editor:
    def __init__(self, text: str) -> None:
        self._text = text
        self._line_end = "\r\n" if "\r\n" in text else "\n"

    def edit(self, mapping: "yaml.MappingNode", path: str, value: Scalar) -> str:
        import yaml

        entries = self._entries(mapping)
        entry, rest = _find(entries, path)
        if entry is None:
            return self._text if value is None else self._insert(mapping, entries, path, value)
        if not rest:
            return self._remove(mapping, entries, entry) if value is None else self._replace(entry, scalar(value))
        if isinstance(entry.value, yaml.MappingNode) and not entry.alias:
            return self.edit(entry.value, rest, value)
        if value is None:
            return self._text
        if isinstance(entry.value, yaml.ScalarNode) and entry.value.tag == "tag:yaml.org,2002:null":
            return self._replace(entry, _flow(rest, value))
        raise NotEditableError(f"`{entry.key.value}` holds no keys of its own")

    # -- where things stand -------------------------------------------------------------------------------------------

    def _entries(self, mapping: "yaml.MappingNode") -> list[_Entry]:
        return [self._entry(key, value) for key, value in mapping.value]

    def _entry(self, key: "yaml.Node", value: "yaml.Node") -> _Entry:
        colon = _COLON.match(self._text, key.end_mark.index)
        if colon is None or key.end_mark.line != key.start_mark.line:
            raise NotEditableError(f"line {key.start_mark.line + 1} has a key of a kind that is not understood")
        begin = key.start_mark.index
        if value.start_mark.index < key.end_mark.index:  # the composer gives an alias the place of what it stands for
            alias = _ALIAS.match(self._text, key.end_mark.index)
            if alias is None:
                raise NotEditableError(f"line {key.start_mark.line + 1} has an alias that is not understood")
            return _Entry(key, value, begin, colon.end(), alias.end(), alias=True)
        return _Entry(key, value, begin, colon.end(), self._end(value), alias=False)

    def _end(self, node: "yaml.Node") -> int:
        """The marks of blocks reach to whatever comes next."""
        import yaml

        if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            if isinstance(node, yaml.MappingNode):
                return self._entry(*last).end
            if last.start_mark.index < node.start_mark.index:
                raise NotEditableError(f"line {node.start_mark.line + 1} begins a list that ends with an alias")
            return self._end(last)
        begin, end = node.start_mark.index, node.end_mark.index
        return begin + len(self._text[begin:end].rstrip())

    # -- what is done to them -----------------------------------------------------------------------------------------

    def _cut(self, begin: int, end: int, new: str = "") -> str:
        return self._text[:begin] + new + self._text[end:]

    def _replace(self, entry: _Entry, new: str) -> str:
        return self._cut(entry.colon, max(entry.colon, entry.end), f" {new}")

    def _remove(self, mapping: "yaml.MappingNode", entries: list[_Entry], entry: _Entry) -> str:
        if not mapping.flow_style:
            if len(entries) > 1:
                return self._cut(self._line_begin(entry.begin), self._line_after(entry.end))
            # Without any key it would be nothing, and not a mapping.
            return self._cut(entry.begin, max(entry.colon, entry.end), "{}")
        comma = _COMMA.match(self._text, entry.end)
        begin, end = entry.begin, comma.end() if comma else entry.end
        at = entries.index(entry)
        if not comma and at and "\n" not in self._text[entries[at - 1].end : begin]:
            begin = entries[at - 1].end
        line_begin, line_after = self._line_begin(begin), self._line_after(end)
        before, behind = self._text[line_begin:begin].strip(), self._text[end:line_after].lstrip()
        alone = not before and (not behind or behind.startswith("#"))
        return self._cut(line_begin, line_after) if alone else self._cut(begin, end)

    def _insert(self, mapping: "yaml.MappingNode", entries: list[_Entry], path: str, value: Scalar) -> str:
        if mapping.flow_style:
            new = _flow(path, value)[1:-1]
            if not entries:
                begin = self._text.index("{", mapping.start_mark.index) + 1
                return self._cut(begin, begin, new)
            return self._cut(entries[-1].end, entries[-1].end, f", {new}")
        if not entries:
            raise NotEditableError("it is empty")
        column = entries[-1].key.start_mark.column
        lines = [" " * column + line for line in _block(path, value)]
        after = self._line_after(max(entries[-1].colon, entries[-1].end))
        gap = "" if self._text[:after].endswith("\n") else self._line_end
        return self._cut(after, after, gap + "".join(line + self._line_end for line in lines))

    def _line_begin(self, position: int) -> int:
        return self._text.rfind("\n", 0, position) + 1

    def _line_after(self, position: int) -> int:
        """Behind the end of its line, comments included."""
        return self._text.find("\n", position) + 1 or len(self._text)


def _find(entries: list[_Entry], path: str) -> tuple[_Entry | None, str]:
    """The entry that the path begins with, and the rest of the path: of `a.b` and `a` the longer key counts."""
    for entry in sorted(entries, key=lambda one: -len(str(one.key.value))):
        name = str(entry.key.value)
        if path == name or path.startswith(f"{name}."):
            return entry, path[len(name) + 1 :]
    return None, ""


def _flow(path: str, value: Scalar) -> str:
    text = scalar(value)
    for name in reversed(path.split(".")):
        text = f"{{{scalar(name)}: {text}}}"
    return text


def _block(path: str, value: Scalar) -> list[str]:
    *outer, last = path.split(".")
    lines = [f"{_INDENT * depth}{scalar(name)}:" for depth, name in enumerate(outer)]
    return [*lines, f"{_INDENT * len(outer)}{scalar(last)}: {scalar(value)}"]


def scalar(value: Scalar) -> str:
    """On one line, also between braces; a text is plain where that cannot be read otherwise, and JSON's else."""
    import yaml

    if isinstance(value, str):
        plain = re.fullmatch(r"[\w./-]+", value, re.ASCII) and yaml.safe_load(value) == value
        return value if plain else json.dumps(value, ensure_ascii=False)
    return yaml.safe_dump(value).partition("\n")[0]
