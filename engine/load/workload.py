"""What is sent: prompts of wanted lengths that no cache of prefixes answers, the same again for the same seed.

A text's length in tokens is the server's to say. Two prompts whose tokens it counts tell how many it makes of a word
and what it adds to each prompt (a chat's template, a first token); the words are of a kind that most tokenizers have
one token for, so that lengths are exact there, and near elsewhere. What was really sent is counted with each answer.
"""

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from engine.load.words import WORDS
from engine.load_plan import MOST_TOKENS, Lengths, Workload

POOL = 1 << 16
"""Words that the bodies of prompts are cut from"""
HEAD = 4
"""Words that number a prompt: their kinds are enough for 35 billion"""
LONGEST = MOST_TOKENS
"""Words of a prompt, whatever a server makes of them"""
UNCOUNTED_WORDS = 0.75
"""For a server that counts no tokens: about so many words of English are one"""


@dataclass(frozen=True, slots=True)
class Text:
    """One prompt, and how long its answer is to be."""

    prompt: str
    max_tokens: int
    system: str = ""


class Texts(Protocol):
    def text(self, index: int, number: int) -> Text:
        """The prompt at a place within its level; `number`: which it is in the whole test, warm-up included."""
        ...


@dataclass(frozen=True, slots=True)
class Measure:
    """How a server counts the words of a prompt."""

    tokens_per_word: float = 1 / UNCOUNTED_WORDS
    overhead: float = 0.0
    """Tokens that it adds to each prompt"""

    @classmethod
    def of(cls, fewer: tuple[int, int], more: tuple[int, int]) -> "Measure":
        """From the words and tokens of two prompts."""
        per_word = (more[1] - fewer[1]) / (more[0] - fewer[0])
        if per_word <= 0:  # it cuts prompts, or counts something else
            return cls()
        return cls(per_word, max(0.0, fewer[1] - per_word * fewer[0]))

    def words(self, tokens: float) -> int:
        """For so many tokens, at least one word."""
        return max(1, min(LONGEST, round((tokens - self.overhead) / self.tokens_per_word)))


class Synthetic:
    """Texts of random words, behind the same ones where a prefix is shared, and a beginning that no other has.

    `run` makes the beginnings those of one test alone: what an earlier one with the same seed left in a cache is no
    help. All else is the seed's: lengths, bodies and the shared prefix.
    """

    def __init__(self, workload: Workload, measure: Measure, run: int) -> None:
        self._workload = workload
        self._measure = measure
        self._run = run
        chosen = random.Random(f"words {workload.seed}")  # noqa: S311 (to be repeated, not to be secret)
        self._pool = chosen.choices(WORDS, k=POOL)
        self._joined = " ".join(self._pool)
        self._starts = tuple(accumulate((len(word) + 1 for word in self._pool), initial=0))
        prefix = workload.shared_prefix
        self._prefix_words = measure.words(prefix) if prefix > 0 else 0
        self._prefix = self._cut(chosen.randrange(POOL), self._prefix_words)

    def text(self, index: int, number: int) -> Text:
        drawn = random.Random(f"{self._workload.seed} {index}")  # noqa: S311 (as above)
        words = self._measure.words(draw(drawn, self._workload.prompt))
        own = max(1, words - self._prefix_words)
        head = self._head(number)[:own]
        body = self._cut(drawn.randrange(POOL), own - len(head))
        parts = (self._prefix, " ".join(head), body)
        return Text(" ".join(part for part in parts if part), draw(drawn, self._workload.output))

    def sample(self, words: int, number: int) -> str:
        """For measuring: like the others, of so many words."""
        head = self._head(number)[:words]
        return " ".join(part for part in (" ".join(head), self._cut(0, words - len(head))) if part)

    def _head(self, number: int) -> list[str]:
        """The number's digits, the lowest first: neighbours differ from their first word on."""
        rest = (number + self._run) % len(WORDS) ** HEAD
        head = []
        for _ in range(HEAD):
            rest, digit = divmod(rest, len(WORDS))
            head.append(WORDS[digit])
        return head

    def _cut(self, start: int, words: int) -> str:
        """So many words of the pool from there on, which begins again at its end."""
        parts = []
        while words > 0:
            end = min(POOL, start + words)
            parts.append(self._joined[self._starts[start] : self._starts[end] - 1])
            words -= end - start
            start = 0
        return " ".join(parts)


class FromFile:
    """The texts of a file in their order, again and again, through all levels: so few as can be are sent twice.

    Where it states no length of an answer, the workload does.
    """

    def __init__(self, workload: Workload, lines: "tuple[Line, ...]") -> None:
        self._workload = workload
        self._lines = lines

    def text(self, index: int, number: int) -> Text:
        line = self._lines[number % len(self._lines)]
        drawn = random.Random(f"{self._workload.seed} {index}")  # noqa: S311 (as above)
        return Text(line.prompt, line.max_tokens or draw(drawn, self._workload.output), line.system)


@dataclass(frozen=True, slots=True)
class Line:
    """A prompt of a file."""

    prompt: str
    system: str = ""
    max_tokens: int | None = None


def draw(chosen: random.Random, lengths: Lengths) -> int:
    length = chosen.normalvariate(lengths.mean, lengths.spread) if lengths.spread else lengths.mean
    return min(MOST_TOKENS, max(1, round(length)))
