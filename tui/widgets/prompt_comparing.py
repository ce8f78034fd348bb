"""What two runs of a prompt were asked differently, and where their answers part. Knows no widget."""

from dataclasses import dataclass
from itertools import zip_longest

from tui.widgets.prompt_runs import PromptRun
from tui.widgets.prompt_settings import sampling_told


@dataclass(frozen=True, slots=True)
class Parting:
    """How two answers differ."""

    same: bool
    at: int
    """The first character that differs"""

    @property
    def words(self) -> str:
        if self.same and not self.at:
            return "There is no answer."
        return "The answers are the same." if self.same else f"The answers differ from character {self.at + 1:,} on."


def parting(first: str, second: str) -> Parting:
    if first == second:
        return Parting(same=True, at=len(first))
    at = next(i for i, (one, other) in enumerate(zip_longest(first, second)) if one != other)
    return Parting(same=False, at=at)


def requests_apart(first: PromptRun, second: PromptRun) -> str:
    """What was asked for differently, in a sentence; empty when nothing was. A difference then may come of that."""
    one, other = first.request, second.request
    parts = []
    if first.prompt != second.prompt:
        parts.append("the prompt")
    if one.system != other.system:
        parts.append("the system prompt")
    if one.history != other.history:
        parts.append("the turns before")
    ways = [run.result.style for run in (first, second) if run.result and run.result.style]
    if len(set(ways)) > 1:
        parts.append(f"how it was put ({', '.join(ways)})")
    if one.lora != other.lora:
        parts.append(f"the adapter ({one.lora or 'none'}, {other.lora or 'none'})")
    if first.deployment == second.deployment and first.start != second.start:
        parts.append(f"the start of {first.deployment}")
    told, others = sampling_told(one.sampling), sampling_told(other.sampling)
    if told != others:
        left = " ".join(part for part in told if part not in others) or "–"
        right = " ".join(part for part in others if part not in told) or "–"
        parts.append(f"sampling ({left}; {right})")
    sources = {run.timing.token_source for run in (first, second) if run.result and run.timing.tokens_out is not None}
    if len(sources) > 1:
        parts.append("who counted the tokens")
    return f"Not the same: {', '.join(parts)}." if parts else ""
