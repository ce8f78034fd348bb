"""A small language model: word n-grams with back-off (absolute discounting), counted from a text.

Nothing but the standard library and numpy, so that it loads wherever Triton's Python backend does.
"""

import math
import re
from collections import Counter, defaultdict

import numpy as np

# A token is a word or a mark together with the blank before it, so that text is what its tokens give when joined.
TOKEN = re.compile(r"\s*(?:\w+(?:['’-]\w+)*|[^\w\s])")
END = 0
"""Token of the end of the text; it is also what the context begins with"""
UNKNOWN = -1
ORDER = 4
"""Words that are looked at together: three of context and the one that follows"""
DISCOUNT = 0.25
"""What each count gives up to the shorter contexts; the more, the freer the text"""
TOPIC = 10.0
"""How much a paragraph with words of the prompt is preferred as a beginning, and again when it opens with them"""


def split(text):
    return TOKEN.findall(text)


def _key(token):
    """How a token counts in a context: without its blank and its capitals."""
    return token.strip().casefold()


class NgramModel:
    def __init__(self, corpus):
        """Learns from a text whose paragraphs are separated by empty lines."""
        paragraphs = [" ".join(block.split()) for block in re.split(r"\n\s*\n", corpus) if block.strip()]
        tokens = [split(paragraph) for paragraph in paragraphs]
        self.vocabulary = ["", *sorted({token for paragraph in tokens for token in paragraph})]
        ids = {token: number for number, token in enumerate(self.vocabulary)}
        self._keys = {"": END}
        for token in self.vocabulary:
            self._keys.setdefault(_key(token), len(self._keys))
        self._key_of = [self._keys[_key(token)] for token in self.vocabulary]

        counts = defaultdict(Counter)
        self._openings = []
        for paragraph in tokens:
            numbers = [ids[token] for token in paragraph]
            context = [END, *(self._key_of[number] for number in numbers)]
            for position, number in enumerate([*numbers, END]):
                for length in range(min(ORDER - 1, position + 1) + 1):
                    counts[tuple(context[position + 1 - length : position + 1])][number] += 1
            self._openings.append((context[:ORDER], numbers[:ORDER], set(context[1:])))
        self._counts = {
            context: (np.fromiter(after, np.int64), np.fromiter(after.values(), np.float64))
            for context, after in counts.items()
        }
        spread = Counter(key for _, _, keys in self._openings for key in keys)
        self._rarity = {key: math.log(len(paragraphs) / count) for key, count in spread.items()}

    def read(self, prompt):
        """The keys of the prompt's tokens."""
        return [self._keys.get(_key(token), UNKNOWN) for token in split(prompt)]

    def context(self, prompt_keys):
        """What the answer follows: the prompt when it stops within a sentence that can go on, else a new beginning."""
        ends = {self._keys.get(mark, END) for mark in ".?!"}
        if prompt_keys and prompt_keys[-1] not in {UNKNOWN, *ends}:
            return prompt_keys[1 - ORDER :]
        return [END]

    def extend(self, context, token):
        return [*context, self._key_of[token]][1 - ORDER :]

    def probabilities(self, context, prompt_keys=()):
        """Of every token to come next. Shorter contexts fill in for what a longer one has not seen."""
        result = np.full(len(self.vocabulary), 1.0 / len(self.vocabulary))
        for length in range(len(context) + 1):
            shorter = tuple(context[len(context) - length :])
            seen = self._begin(shorter, prompt_keys) if shorter[:1] == (END,) else self._counts.get(shorter)
            if seen is None:
                break
            tokens, counts = seen
            total = counts.sum()
            result *= DISCOUNT * len(tokens) / total
            result[tokens] += (counts - DISCOUNT) / total
        return result

    def _begin(self, context, prompt_keys):
        """What follows in the paragraphs that begin so, each counted for as much as it has to do with the prompt."""
        counts = Counter()
        for opening, numbers, keys in self._openings:
            if opening[: len(context)] == list(context):
                shared = keys.intersection(prompt_keys)
                within = sum(self._rarity[key] for key in shared)
                opens = sum(self._rarity[key] for key in shared.intersection(opening))
                counts[numbers[len(context) - 1]] += 1.0 + TOPIC * within + TOPIC**2 * opens
        return (np.fromiter(counts, np.int64), np.fromiter(counts.values(), np.float64)) if counts else None


class Sampler:
    """Chooses tokens. The same seed gives the same choices."""

    def __init__(self, temperature=0.7, top_k=0, top_p=1.0, seed=None):
        self._temperature = temperature
        self._top_k = top_k
        self._top_p = top_p
        self._random = np.random.default_rng(seed)

    def choose(self, probabilities):
        if self._temperature < 1e-5:
            return int(probabilities.argmax())
        logits = np.log(np.maximum(probabilities, 1e-30)) / self._temperature
        weights = np.exp(logits - logits.max())
        order = np.argsort(-weights, kind="stable")
        ranked = weights[order] / weights.sum()
        keep = len(order) if self._top_k <= 0 else min(self._top_k, len(order))
        if self._top_p < 1.0:
            keep = min(keep, int(np.searchsorted(ranked.cumsum(), self._top_p)) + 1)
        ranked = ranked[:keep] / ranked[:keep].sum()
        return int(self._random.choice(order[:keep], p=ranked))
