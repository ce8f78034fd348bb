"""Values that servers accept for `Sampling`, and what they do when they are not told."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from engine.inference.offer import Parameter

# What each value means bounds it, whatever the server.
_MEANT = (
    Parameter("max_tokens", least=1),
    Parameter("temperature", least=0),
    Parameter("top_p", least=0, most=1),
    Parameter("top_k", least=-1),
    Parameter("min_p", least=0, most=1),
    Parameter("presence_penalty"),
    Parameter("frequency_penalty"),
    Parameter("repetition_penalty", least=0),
    Parameter("seed"),
    Parameter("stop"),
    Parameter("min_tokens", least=0),
    Parameter("ignore_eos"),
)
_OPENAI = "the OpenAI API"
_RANGES = {"temperature": (0, 2), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2)}
_VLLM_DEFAULTS = {
    "temperature": "1",
    "top_p": "1",
    "top_k": "0: all",
    "min_p": "0",
    "presence_penalty": "0",
    "frequency_penalty": "0",
    "repetition_penalty": "1",
    "seed": "another each time",
    "min_tokens": "0",
    "ignore_eos": "off",
}
"""`SamplingParams` of vLLM 0.32; its server takes those of the model's generation_config.json first"""
_ABOVE_LEAST = frozenset(("top_p", "repetition_penalty"))
_BEYOND_OPENAI = frozenset(("top_k", "min_p", "repetition_penalty", "min_tokens", "ignore_eos"))
_FRONTEND_KNOWS = frozenset(("min_tokens", "ignore_eos"))
_FROM_MODEL = frozenset(("temperature", "top_p", "top_k", "min_p", "repetition_penalty"))


def openai_parameters() -> tuple[Parameter, ...]:
    """Of a server of which nothing else is known: those of OpenAI's own description."""
    return tuple(_within(parameter, _OPENAI) for parameter in _MEANT if parameter.name not in _BEYOND_OPENAI)


def frontend_parameters() -> tuple[Parameter, ...]:
    """Of Triton's OpenAI frontend, which refuses all others (`schemas/openai.py`)."""
    others = _BEYOND_OPENAI - _FRONTEND_KNOWS
    return tuple(_within(parameter, "Triton's OpenAI frontend") for parameter in _MEANT if parameter.name not in others)


def vllm_parameters(context_tokens: int | None, version: str) -> tuple[Parameter, ...]:
    """Of vLLM's own server (`SamplingParams._verify_args` of 0.32)."""
    source = f"vLLM {version}".strip()
    return tuple(
        replace(parameter, default=f"{parameter.default}, or generation_config.json's")
        if parameter.name in _FROM_MODEL
        else parameter
        for parameter in _of_vllm(_MEANT, context_tokens, source)
    )


def triton_parameters(taken: Collection[str], context_tokens: int | None, *, vllm: bool) -> tuple[Parameter, ...]:
    """Of a Triton model that takes these. `vllm`: by the vLLM backend's interface."""
    parameters = tuple(parameter for parameter in _MEANT if parameter.name in taken)
    if vllm:
        return tuple(_of_vllm(parameters, context_tokens, "vLLM"))
    return tuple(_bounded(parameter, context_tokens) for parameter in parameters)


def _of_vllm(parameters: Iterable[Parameter], context_tokens: int | None, source: str) -> Iterable[Parameter]:
    for parameter in parameters:
        told = replace(_within(parameter, source), default=_VLLM_DEFAULTS.get(parameter.name, ""))
        if parameter.name in _ABOVE_LEAST:
            told = replace(told, why=f"{source}, and more than 0")
        yield _bounded(told, context_tokens)


def _within(parameter: Parameter, source: str) -> Parameter:
    if parameter.name == "seed":
        return replace(parameter, least=-(2**63), most=2**63 - 1, why="64 bits")
    if parameter.name not in _RANGES:
        return parameter
    least, most = _RANGES[parameter.name]
    return replace(parameter, least=least, most=most, why=source)


def _bounded(parameter: Parameter, context_tokens: int | None) -> Parameter:
    if context_tokens is None or parameter.name not in ("max_tokens", "min_tokens"):
        return parameter
    return replace(parameter, most=context_tokens, why=f"max_model_len {context_tokens}, the prompt included")
