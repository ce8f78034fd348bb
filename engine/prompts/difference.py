"""What differs between two runs of a prompt: the same one to two deployments, or to one before and after a change."""

from engine.inference.prompt import PromptResult
from engine.load.statistics import digest
from engine.prompt_record import PromptDifference

SAME_TEXT = "same text"
"""Title of the last figure, which has no unit: the first is 1; the second is 1 when the texts are equal, otherwise 0"""


def differences(first: PromptResult, second: PromptResult) -> tuple[PromptDifference, ...]:
    """The same figures in the same order for every pair; definitions are in docs/prompts.md.

    A figure that a run does not have is None; a p99 of gaps needs a hundred of them (`engine.load_result.Digest`).
    """
    pairs = zip(_figures(first), _figures(second), strict=True)
    told = [PromptDifference(title, unit, before, after) for (title, unit, before), (_, _, after) in pairs]
    return (*told, PromptDifference(SAME_TEXT, "", 1.0, float(first.text == second.text)))


def _figures(result: PromptResult) -> list[tuple[str, str, float | None]]:
    """Title, unit and value."""
    timing, gaps = result.timing, digest(result.gaps_s)
    return [
        ("first byte", "s", timing.first_byte_s),
        ("first token", "s", timing.first_token_s),
        ("inter-token, mean", "s", timing.inter_token_s),
        ("gaps, p50", "s", gaps.p50),
        ("gaps, p99", "s", gaps.p99),
        ("longest gap", "s", gaps.most),
        ("while decoding", "tokens/s", timing.tokens_per_s),
        ("total", "s", timing.total_s),
        ("tokens in", "tokens", timing.tokens_in),
        ("tokens out", "tokens", timing.tokens_out),
    ]
