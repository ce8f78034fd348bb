"""The options of `engine.inference.prompt.Sampling`, told once: for the command line, for files, for forms."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    name: str
    """As in `Sampling`"""
    kind: type[int] | type[float] | type[bool] | type[tuple[str, ...]]
    """tuple: texts, any number of them"""
    text: str
    """What it does, in a few words"""
    least: int | None = None
    """Of what can be meant at all; what a server takes beyond that is its own to say"""


OPTIONS = (
    Option("max_tokens", int, "the longest answer; 256 unless told", 1),
    Option("min_tokens", int, "go on for so many before it may end", 0),
    Option("ignore_eos", bool, "go on to the longest, whatever the model says; for measuring"),
    Option("stop", tuple, "end before this text; may be given more than once"),
    Option("temperature", float, "0 takes the likeliest token each time", 0),
    Option("top_p", float, "only the likeliest tokens, up to this share of probability"),
    Option("top_k", int, "only so many of the likeliest tokens"),
    Option("min_p", float, "only tokens with this share of the likeliest one's probability"),
    Option("presence_penalty", float, "against what was said at all"),
    Option("frequency_penalty", float, "against what was said often"),
    Option("repetition_penalty", float, "against repeating prompt and answer; 1 does nothing"),
    Option("seed", int, "the same one gives the same answer, where the server allows it"),
)
