"""What a model says to itself before it answers, in servers that leave it in the text. Knows no widget."""

Piece = tuple[str, str]
"""Kind and text: `reasoning` or `answer`"""
_BEGIN, _END = "<think>", "</think>"


def marked(text: str) -> list[Piece]:
    """The same text in pieces, with the marks of the reasoning in it; a piece begins a line of its own."""
    reasoning, answer = _divided(text)
    answer = answer.removeprefix("\n") if reasoning else answer
    return [piece for piece in (("reasoning", reasoning), ("answer", answer)) if piece[1]]


def told_apart(text: str) -> tuple[str, str]:
    """Reasoning and answer, without the marks."""
    reasoning, answer = _divided(text)
    if not reasoning:
        return "", text
    return reasoning.strip().removeprefix(_BEGIN).removesuffix(_END).strip(), answer.lstrip("\n")


def without_reasoning(text: str) -> str:
    """The answer, as it belongs into a conversation."""
    return told_apart(text)[1]


def only_reasoned(text: str) -> bool:
    """Whether there is reasoning, and no answer after it."""
    reasoning, answer = told_apart(text)
    return bool(reasoning) and not answer.strip()


class Following:
    """As `marked`, of a text that grows, at the cost of what is added."""

    def __init__(self) -> None:
        self.thinking = False
        """The last of the text is reasoning"""
        self._head: str | None = ""
        """The beginning, until it tells whether this is reasoning"""
        self._tail = ""
        """The end of the text, in which a mark may have begun"""
        self._over = False
        """No reasoning can follow"""
        self._breaks = False
        """A line break that comes next is that between the pieces"""

    def feed(self, fresh: str) -> list[Piece] | None:
        """What has been added; None when it says of the text before it that it was of another kind."""
        anew = False
        if self._head is not None and not self._over:
            anew, self._head = bool(self._head), self._head + fresh
            start = self._head.lstrip()
            if start != _BEGIN and _BEGIN.startswith(start):
                return _pieces(("answer", fresh))
            self.thinking, self._head = start.startswith(_BEGIN), None
            anew = anew and self.thinking
        reasoning, answer = ("", fresh) if self._over else self._split(fresh)
        if self._breaks and answer:
            self._breaks, answer = False, answer.removeprefix("\n")
        return None if anew or answer is None else _pieces(("reasoning", reasoning), ("answer", answer))

    def _split(self, fresh: str) -> tuple[str, str | None]:
        """None for the answer when the end of reasoning came that nothing had begun."""
        before, seen = len(self._tail), self._tail + fresh
        self._tail = seen[1 - len(_END) :]
        begun, end = self.thinking, seen.find(_END)
        if not begun and _BEGIN in (seen[:end] if end >= 0 else seen):
            self._over = True  # in passing: what ends after it is no reasoning of the model
        elif end >= 0:
            rest = fresh[end + len(_END) - before :]
            self.thinking, self._over, self._breaks = False, True, begun or not rest
            return (fresh[: len(fresh) - len(rest)], rest) if begun else ("", None)
        return (fresh, "") if begun else ("", fresh)


def _pieces(*pieces: Piece) -> list[Piece]:
    return [piece for piece in pieces if piece[1]]


def _divided(text: str) -> tuple[str, str]:
    """Where the reasoning ends. A chat template may have begun it already: then the text has its end only."""
    end = text.find(_END)
    if text.lstrip().startswith(_BEGIN):
        cut = end + len(_END) if end >= 0 else len(text)
    else:
        cut = end + len(_END) if end >= 0 and _BEGIN not in text[:end] else 0
    return text[:cut], text[cut:]
