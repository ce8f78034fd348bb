"""What the OpenAI protocol is sent: which model, in which style, with which values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from engine.inference.prompt import PromptRequest, Role, Sampling, Style
from engine.inference.sse import excerpt
from engine.inference.unfit import Unfit, named

PATHS = {Style.CHAT: "/v1/chat/completions", Style.COMPLETION: "/v1/completions"}
# By status, words of a server that has no template: vLLM (0.32: `default chat template is no longer allowed`), and
# Triton's OpenAI frontend when it was started without --tokenizer.
_NO_TEMPLATE = {400: ("chat template", "chat_template"), 500: ("unknown tokenizer",)}


@dataclass(frozen=True, slots=True)
class ServedModel:
    """An entry of `GET /v1/models`."""

    name: str
    base: str | None = None
    """The model that it adapts: it is a LoRA adapter (vLLM's `parent`)"""
    context_tokens: int | None = None
    """vLLM's `max_model_len`"""
    owner: str = ""
    """`owned_by`: `vllm`, `Triton Inference Server` …"""
    root: str | None = None
    """What it was loaded from: the same for all names of one model (vLLM's `--served-model-name a b`)"""


def served_models(listing: Mapping[str, Any]) -> tuple[ServedModel, ...]:
    """Entries that are no models are passed over."""
    data = listing.get("data")
    return tuple(
        ServedModel(
            entry["id"],
            entry["parent"] if isinstance(entry.get("parent"), str) else None,
            entry["max_model_len"] if isinstance(entry.get("max_model_len"), int) else None,
            entry["owned_by"] if isinstance(entry.get("owned_by"), str) else "",
            entry["root"] if isinstance(entry.get("root"), str) else None,
        )
        for entry in (data if isinstance(data, list) else ())
        if isinstance(entry, dict) and isinstance(entry.get("id"), str)
    )


def names_of(served: Sequence[ServedModel], model: ServedModel) -> list[str]:
    """All names that the model is served under, adapters left out; the first is its own, as vLLM's metrics have it."""
    return [
        other.name
        for other in served
        if other.base is None and (other is model or (other.root is not None and other.root == model.root))
    ]


def model_to_send(served: Sequence[ServedModel], where: str, wanted: str | None, lora: str | None) -> str:
    """The name that the request carries: an adapter's, when one is asked for. Raises `Unfit`.

    A wanted model is taken on trust: a server answers to names that it does not list. vLLM lists adapters by their own
    names, Triton's OpenAI frontend by the model's name, a separator of the operator's choice, and theirs.
    """
    first = next((model for model in served if model.base is None), None)
    aliases = names_of(served, first) if first else []
    models = [model.name for model in served if model.base is None and model.name not in aliases[1:]]
    if not (models or wanted):
        raise Unfit(f"{where} serves no model.")
    if wanted is None and lora is None and len(models) > 1:
        raise Unfit(f"{where} serves several models: {excerpt(', '.join(models))}.", "Say which one is meant.")
    if lora is None:
        return wanted or models[0]
    names = [model.name for model in served if model.base is not None or model.name not in (wanted, *aliases)]
    if lora in names:
        return lora
    base = wanted or models[0]
    joined = [name for name in names if name.startswith(base) and name.endswith(lora)]
    if len(joined) == 1:
        return joined[0]
    if names:
        raise Unfit(f"{where} has no LoRA adapter {lora!r}.", f"Name one of those that it lists: {named(names, lora)}.")
    raise Unfit(
        f"{where} has no LoRA adapter {lora!r}: it lists none.",
        "Leave the adapter out (--lora), or start the server with it: `lora` in the profile.",
    )


def styles_of(request: PromptRequest) -> tuple[Style, ...]:
    """The styles to try in turn: the second when a server `wants_template` for the first."""
    return (Style.CHAT, Style.COMPLETION) if request.style is None else (request.style,)


def wants_template(status: int, refusal: bytes) -> bool:
    """Whether a server refused a chat because it has no chat template."""
    return any(words.encode() in refusal.lower() for words in _NO_TEMPLATE.get(status, ()))


def openai_body(request: PromptRequest, model: str, style: Style) -> tuple[str, dict[str, Any]]:
    """Path and body of the request for one streamed answer.

    Usage is asked for once, at the end. vLLM could add it to every chunk (`continuous_usage_stats`), for a third more
    bytes and some more processor time of the server that is measured; the sum would be the same.
    """
    said: dict[str, Any] = {"messages": messages(request)} if style is Style.CHAT else {"prompt": plain_text(request)}
    return PATHS[style], {
        "model": model,
        **said,
        **values_set(request.sampling),
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def messages(request: PromptRequest) -> list[dict[str, str]]:
    system = [{"role": "system", "content": request.system}] if request.system else []
    history = [{"role": turn.role.value, "content": turn.text} for turn in request.history]
    return [*system, *history, {"role": Role.USER.value, "content": request.prompt}]


def plain_text(request: PromptRequest) -> str:
    """The prompt for a model that is sent text alone. No chat template is applied.

    A system prompt stands before it as a paragraph of its own; with earlier turns all are marked `User:` and
    `Assistant:`, which a model that was trained on another form may answer worse than it could.
    """
    system = f"{request.system}\n\n" if request.system else ""
    if not request.history:
        return system + request.prompt
    turns = [f"{turn.role.value.title()}: {turn.text}\n" for turn in request.history]
    return f"{system}{''.join(turns)}User: {request.prompt}\nAssistant:"


def values_set(sampling: Sampling) -> dict[str, Any]:
    """`max_tokens` and what else is not left to the server, by vLLM's names: others refuse what they do not know."""
    named = ((field.name, getattr(sampling, field.name)) for field in fields(sampling))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in named if _is_set(value)}


def _is_set(value: object) -> bool:
    return value is not None and value is not False and value != ()


def sampling_json(sampling: Sampling, lora: str | None) -> str:
    """The tensor `sampling_parameters` of Triton's vLLM backend (`SamplingParams`, and `lora_name`)."""
    return json.dumps(values_set(sampling) | ({"lora_name": lora} if lora is not None else {}))
