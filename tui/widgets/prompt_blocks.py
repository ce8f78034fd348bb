"""An answer that grows, as Markdown: only what can still change is parsed and drawn again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.strip import Strip

from tui.widgets.prompt_markdown import Piece, rendered

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from rich.style import Style

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(slots=True)
class _Answer:
    """Of one answer, the blocks before its last: what comes later changes none of them."""

    source: str = ""
    strips: list[Strip] = field(default_factory=list)
    parted: bool = False
    """What was before the next block asks for an empty line between"""


class GrowingMarkdown:
    """For one thread at a time. Makes the lines that `rendered` makes."""

    def __init__(self) -> None:
        self._answers: list[_Answer] = []
        self._look: object = None
        self._parser: MarkdownIt | None = None

    def rendered(self, pieces: Sequence[Piece], width: int, styles: Mapping[str, "Style"]) -> list[Strip]:
        look = width, dict(styles)
        if look != self._look:
            self._look, self._answers = look, []
        strips: list[Strip] = []
        answers: list[_Answer] = []
        for kind, text in pieces:
            if strips:
                strips.append(Strip([]))
            if kind == "answer":
                answers.append(self._begun(text))
                strips += self._lines(answers[-1], text, width, styles)
            else:
                strips += rendered([(kind, text)], width, styles)
        self._answers = answers or self._answers  # the same answer may be looked at again after nothing
        return strips

    def _begun(self, text: str) -> _Answer:
        """What is known of that answer."""
        known = (answer for answer in self._answers if text.startswith(answer.source))
        return max(known, key=lambda answer: len(answer.source), default=_Answer())

    def _lines(self, answer: _Answer, text: str, width: int, styles: Mapping[str, "Style"]) -> list[Strip]:
        from rich.markdown import Markdown, UnknownElement

        rest = text[len(answer.source) :]
        lines = _LINE.findall(rest)
        environment: dict[str, Any] = {}
        tokens = self._parse(rest, environment)
        if "references" in environment:  # such a line changes links in any block
            return rendered([("answer", text)], width, styles)
        blocks = [token for token in tokens if token.level == 0 and token.nesting >= 0]
        begins = [token.map[0] if token.map else 0 for token in blocks]
        last: list[Strip] = []
        for token, begin, end in zip(blocks, begins, [*begins, len(lines)][1:], strict=True):
            source = "".join(lines[begin:end])
            before = "x\n\n" * answer.parted  # a line of its own: what is between is drawn with the later block
            last = rendered([("answer", before + source)], width, styles)[answer.parted :]
            if token is not blocks[-1]:
                answer.strips += last
                answer.parted = Markdown.elements.get(token.type, UnknownElement).new_line
        if blocks:
            answer.source += "".join(lines[: begins[-1]])
        return [*answer.strips, *last]

    def _parse(self, text: str, environment: dict[str, Any]) -> list[Any]:
        if self._parser is None:
            from markdown_it import MarkdownIt

            self._parser = MarkdownIt().enable(["strikethrough", "table"])  # as Rich does
        return self._parser.parse(text, environment)
