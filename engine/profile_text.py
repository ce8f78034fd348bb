"""A profile's text as data, with the line of each key. What YAML allows and no profile has is refused."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.text import clean

if TYPE_CHECKING:
    import yaml

MAX_NODES = 20_000
"""Aliases counted as often as they stand: a few lines of them can mean more than fits in memory"""
MAX_DEPTH = 64
"""The C parser overflows its stack on deep nesting, which nothing can catch"""
MAX_DIGITS = 40
"""Python neither writes nor divides what has thousands, and YAML reads them where they are written as 0x…"""
Location = tuple[str | int, ...]


class TextProblem(Exception):
    """It is no profile. `line` counts from 1; None when there is no place to name."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> tuple[Any, dict[Location, int]]:
    """Keys to values, and the line (from 1) of each key and item by its path. Raises `TextProblem`."""
    import yaml

    make_loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_depth(yaml.parse(text, make_loader))
        loader = make_loader(text)
        try:
            node = loader.get_single_node()
            if not isinstance(node, yaml.MappingNode):
                raise TextProblem(1, "A profile is a mapping of keys to values, beginning with `name:`.")
            lines = _positions(node)
            return loader.construct_document(node), lines
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise TextProblem(
            mark.line + 1 if mark else None, f"Not valid YAML: {error.problem or error.context}."
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.encode("utf-8", "replace")[: error.position].count(b"\n") + 1  # the C parser counts bytes
        raise TextProblem(line, "It contains a control character.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise TextProblem(None, f"Not valid YAML: {error}.") from error


def _check_depth(events: "Iterator[yaml.Event]") -> None:
    """Raises `TextProblem`."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise TextProblem(line, f"It is nested more than {MAX_DEPTH} levels deep.")


def _positions(root: "yaml.Node") -> dict[Location, int]:
    """Raises `TextProblem`."""
    found: dict[Location, int] = {}
    for number, (where, line) in enumerate(_walk(root, ())):
        if number > MAX_NODES or len(where) > MAX_DEPTH:
            raise TextProblem(line, "Its aliases make too much of it: write out what is meant.")
        found[where] = line
    return found


def _walk(node: "yaml.Node", where: Location) -> Iterator[tuple[Location, int]]:
    import yaml

    if isinstance(node, yaml.ScalarNode):
        if clean(node.value.replace("\t", " ")) != node.value.replace("\t", " "):
            raise TextProblem(node.start_mark.line + 1, "It contains a control or invisible character.")
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MAX_DIGITS:
            raise TextProblem(
                node.start_mark.line + 1,
                f"It has a number of more than {MAX_DIGITS} digits; write a smaller one, or quote it if it is text.",
            )
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise TextProblem(key.start_mark.line + 1, f"The key `{name}` stands twice.")
            seen.add(name)
            yield (*where, name), key.start_mark.line + 1
            yield from _walk(key, where)
            yield from _walk(value, (*where, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*where, index), item.start_mark.line + 1
            yield from _walk(item, (*where, index))
